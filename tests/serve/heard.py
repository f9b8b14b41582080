"""A reporter that keeps what a job says and warns of."""

from sixgig.jobs.reporter import Reporter


class Heard(Reporter):
    """said, warned: as they came."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.warned: list[str] = []

    def say(self, words: str) -> None:
        self.said.append(words)

    def warn(self, words: str) -> None:
        self.warned.append(words)
