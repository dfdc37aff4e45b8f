import logging
logging.warning("to stderr")
logging.basicConfig(level="INFO", format="%(levelname)s %(name)s %(filename)s:%(lineno)d %(message)s", force=True)
logging.info("with a place")
try:
    1 / 0
except ZeroDivisionError:
    logging.exception("failed")
