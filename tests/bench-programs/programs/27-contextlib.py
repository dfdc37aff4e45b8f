import contextlib, io, time
@contextlib.contextmanager
def step(name):
    print("begin", name)
    try: yield name.upper()
    finally: print("end", name)
with contextlib.ExitStack() as stack:
    print(stack.enter_context(step("a")), stack.enter_context(step("b")))
with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(ZeroDivisionError):
    print("hidden"); 1 / 0
print(repr(out.getvalue()))
