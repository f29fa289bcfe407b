"""Ask from Python, and see the answer come token by token.

Run it against `ragline up`:  python examples/client.py "What does the yield expression do?"
"""

import asyncio
import sys

from ragline import Answer, Client, Token


async def main(question: str) -> None:
    async with Client() as client:
        answer = await client.ask(question)
        print(f"In one piece: {answer.text}\n")

        print("Token by token: ", end="")
        async for update in client.stream(question):
            match update:
                case Token(text):
                    print(text, end="", flush=True)
                case Answer(sources=sources):
                    print("\n\n" + "\n".join(f"[{source.number}] {source.passage.title}" for source in sources))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "What does the yield expression do?"))
