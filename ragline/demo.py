"""What ``ragline demo`` does once everything runs: ingest the demo corpus, ask three questions."""

from ragline.asking import ask_on_terminal
from ragline.client import Client, RequestError
from ragline.corpus import demo_documents
from ragline.ingest import ingest
from ragline.settings import Settings
from ragline.terminal import OUT, IngestProgress, fail, print_summary

QUESTIONS = (
    "What does the yield expression do?",
    "What is the difference between the break and continue statements?",
    "What is a lambda expression?",
)


async def demo_questions(settings: Settings) -> bool:
    """Ingest and ask; whether the corpus is searchable and all questions were answered."""
    addressed = settings.with_local_addresses()
    documents = list(demo_documents())
    OUT.print(f"ragline: ingesting the demo corpus, {len(documents)} topics of the Python language reference")
    with IngestProgress(total=len(documents)) as progress:
        summary = await ingest(addressed.kafka, addressed.names, documents, report=progress)
    print_summary(summary)
    answered = 0
    async with Client(settings) as client:
        for question in QUESTIONS:
            try:
                answer = await ask_on_terminal(client, question)
            except RequestError as error:
                fail(f"not answered ({error.code}): {error}")
            else:
                answered += answer.finish_reason != "nothing_found"
    OUT.print(f"\nragline: {answered} of {len(QUESTIONS)} questions answered")
    return summary.ok and answered == len(QUESTIONS)
