import asyncio
async def work(n, queue):
    await asyncio.sleep(0.001 * (n % 3))
    await queue.put(n * n)
async def main():
    queue = asyncio.Queue()
    async with asyncio.timeout(10):
        await asyncio.gather(*(work(i, queue) for i in range(50)))
    print(sum([queue.get_nowait() for _ in range(50)]))
asyncio.run(main())
