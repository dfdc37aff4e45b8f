import asyncio


async def work(n):
    await asyncio.sleep(0.01 * n)
    return n * n


async def main():
    print(await asyncio.gather(*(work(i) for i in range(5))))
    p = await asyncio.create_subprocess_exec("echo", "from a child", stdout=asyncio.subprocess.PIPE)
    print((await p.communicate())[0], p.returncode)
    raise ValueError("from a coroutine")


asyncio.run(main())
