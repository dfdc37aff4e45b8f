import io, unittest
def fizz(n): return "FizzBuzz" if n % 15 == 0 else "Fizz" if n % 3 == 0 else "Buzz" if n % 5 == 0 else str(n)
class TestFizz(unittest.TestCase):
    def test_three(self): self.assertEqual(fizz(9), "Fizz")
    def test_five(self): self.assertEqual(fizz(10), "Buzz")
    def test_both(self): self.assertEqual(fizz(30), "FizzBuzz")
    def test_wrong(self): self.assertEqual(fizz(7), "Fizz")
result = unittest.TextTestRunner(stream=io.StringIO()).run(unittest.defaultTestLoader.loadTestsFromTestCase(TestFizz))
print(result.testsRun, len(result.failures), len(result.errors))
