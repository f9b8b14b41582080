"""A request goes to one answerer; after the first byte it goes nowhere else."""

from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from sixgig.router import Handover


class AnyCourse(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.handover = Handover()
        self.sent = self.gone = self.over = False

    @rule()
    def the_local_answer_has_a_byte(self) -> None:
        allowed = self.handover.start_local()
        assert allowed == (not self.gone and not self.over)
        self.sent |= allowed

    @rule()
    def it_goes_upstream(self) -> None:
        could = self.handover.may_leave()
        assert self.handover.leave() == could == (not self.sent and not self.gone and not self.over)
        self.gone |= could

    @rule()
    def it_ends(self) -> None:
        self.handover.finish()
        self.over = True

    @invariant()
    def nothing_leaves_after_the_first_byte(self) -> None:
        assert self.handover.may_leave() == (self.handover.state == "waiting")
        assert not (self.sent and self.gone)
        if self.sent or self.gone or self.over:
            assert not self.handover.may_leave()


AnyCourse.TestCase.settings = profile(max_examples=100)
test_of_any_course = AnyCourse.TestCase


@given(st.lists(st.sampled_from(("start_local", "leave", "finish", "may_leave")), max_size=20))
def test_once_it_may_not_leave_it_never_may(calls: list[str]) -> None:
    handover, closed = Handover(), False
    for call in calls:
        getattr(handover, call)()
        assert not (closed and handover.may_leave())
        closed = closed or not handover.may_leave()
