import logging, sys
logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
log = logging.getLogger("app.part")
log.debug("hidden")
for i in range(5):
    log.info("step %d of %d", i, 5)
try:
    {}["missing"]
except KeyError:
    log.error("no such key", exc_info=False)
