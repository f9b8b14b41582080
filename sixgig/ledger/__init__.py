"""What was served, by whom, and what it cost: one SQLite file, which never holds a word of any text."""

from sixgig.ledger.break_even import ApiPrice, BreakEven, LocalUse, break_even, loaded_cost_per_day
from sixgig.ledger.database import LedgerError, default_path
from sixgig.ledger.entry import LOCAL, Entry, Outcome, Residency
from sixgig.ledger.ledger import Ledger
from sixgig.ledger.reader import Reader
from sixgig.ledger.report import By, Loaded, Report, Served, Totals
from sixgig.ledger.spending import Exceeded, Limits, Reservation
from sixgig.ledger.sums import Sum

__all__ = [
    "LOCAL",
    "ApiPrice",
    "BreakEven",
    "By",
    "Entry",
    "Exceeded",
    "Ledger",
    "LedgerError",
    "Limits",
    "Loaded",
    "LocalUse",
    "Outcome",
    "Reader",
    "Report",
    "Reservation",
    "Residency",
    "Served",
    "Sum",
    "Totals",
    "break_even",
    "default_path",
    "loaded_cost_per_day",
]
