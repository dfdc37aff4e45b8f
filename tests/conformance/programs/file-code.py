def f():
    pass


print(f.__code__.co_filename, f.__code__.co_firstlineno, compile("1", __file__, "eval").co_filename)
try:
    exec("1/0")
except ZeroDivisionError as e:
    print(e.__traceback__.tb_frame.f_code.co_filename, e.__traceback__.tb_next.tb_frame.f_code.co_filename)
