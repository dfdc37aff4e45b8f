print("one\r\ntwo\rthree")
