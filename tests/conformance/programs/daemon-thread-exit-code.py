import sys, threading, time
threading.Thread(target=lambda: time.sleep(1000), daemon=True).start()
sys.exit(6)
