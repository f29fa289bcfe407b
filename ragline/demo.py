"""What ``ragline demo`` does once everything runs: ingest the demo corpus, ask three questions."""

from ragline.asking import ask_on_terminal
from ragline.client import Client, RequestError
from ragline.corpus import demo_documents
from ragline.indexed import indexed_revisions
from ragline.ingest import ingest
from ragline.ledger import submission
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
    corpus = {document.id: document for document in demo_documents()}
    there = await indexed_revisions(addressed.kafka, addressed.names)
    new = [document for document in corpus.values() if there.get(document.id) != submission(document, None).revision]
    OUT.print(f"ragline: the demo corpus is the Python language reference; {len(new)} of {len(corpus)} topics are new")
    with IngestProgress(total=len(new)) as progress:
        summary = await ingest(addressed.kafka, addressed.names, new, report=progress)
    if new:
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
