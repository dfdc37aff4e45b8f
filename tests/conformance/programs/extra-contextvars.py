import contextvars, decimal, random, time
v = contextvars.ContextVar("v", default=1)
print(v.get(), contextvars.copy_context().run(lambda: v.set(2)) and v.get(), decimal.getcontext().prec)
random.seed(5)
print(random.random(), time.tzname, time.timezone)
