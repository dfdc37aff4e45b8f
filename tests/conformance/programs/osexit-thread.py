import os, threading, time
threading.Thread(target=lambda: os._exit(4)).start()
time.sleep(60)
