from decimal import Decimal, getcontext
from fractions import Fraction
getcontext().prec = 50
print(Decimal(2).sqrt())
print(sum(Fraction(1, n) for n in range(1, 30)))
