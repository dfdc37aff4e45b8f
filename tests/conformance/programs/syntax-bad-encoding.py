# -*- coding: nonesuch -*-
print(1)
