import warnings


def old():
    warnings.warn("old is deprecated", DeprecationWarning, stacklevel=2)


old()
warnings.warn("user warning")
print(warnings.filters == warnings.filters, len(warnings.filters))
