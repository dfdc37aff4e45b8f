import signal, time
hits = []
signal.signal(signal.SIGALRM, lambda *a: hits.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
while len(hits) < 3: time.sleep(1)
signal.setitimer(signal.ITIMER_REAL, 0)
print("three")
