print("\udc80 lone")
