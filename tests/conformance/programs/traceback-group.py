import sys
if sys.version_info < (3, 11):
    sys.exit(3)
raise ExceptionGroup("several", [ValueError(1), TypeError("two"), ExceptionGroup("inner", [KeyError("x")])])
