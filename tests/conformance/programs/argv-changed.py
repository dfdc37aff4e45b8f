import sys
sys.argv.append("more")
sys.argv[0] = "other"
import optparse
print(optparse.OptionParser().get_prog_name(), sys.argv)
