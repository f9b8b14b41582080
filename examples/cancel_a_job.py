"""End a job from another thread: here one that measures a text, after some seconds.

python examples/cancel_a_job.py model.gguf --text book.txt --after 5
"""

import argparse
import sys
import threading

import sixgig


class Printing(sixgig.Reporter):
    """Prints what a job says; without a reporter a job is silent."""

    def say(self, words: str) -> None:
        """What is worth knowing."""
        print(words)

    def warn(self, words: str) -> None:
        """What to be careful about."""
        print(words, file=sys.stderr)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", nargs="?", help="a file or hf:OWNER/REPO:QUANT; by default a small demo")
parser.add_argument("--text", default=__file__, help="file to measure on; by default this one")
parser.add_argument(
    "--after", type=float, default=0.0, metavar="SECONDS", help="when to cancel; by default at once"
)
options = parser.parse_args()

reporter = Printing()  # of one job: a reporter that was cancelled stays so
timer = threading.Timer(options.after, reporter.cancel)
timer.start()
try:
    result = sixgig.score(options.model, text=options.text, reporter=reporter)
except sixgig.Cancelled as cancelled:
    print(f"ended early: {cancelled}")
except sixgig.SixgigError as error:
    sys.exit(f"error: {error}")  # what is wrong, the numbers, the cure
else:
    print(f"done before that: perplexity {result.perplexity:.2f}")
finally:
    timer.cancel()
