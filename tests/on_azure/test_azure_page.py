"""docs/azure.md: the first day has the steps that the doctor checks, each of them complete."""

import re

from pretrain_llama.doctor.subscription import PROVIDERS
from project import ROOT

PAGE = (ROOT / "docs" / "azure.md").read_text()
STEPS = [[cell.strip() for cell in row.split("|")[1:-1]] for row in re.findall(r"^\| \d .*", PAGE, re.M)]


def test_steps_are_those_of_the_doctor_in_its_order() -> None:
    program = (ROOT / "scripts" / "check_azure.py").read_text()
    assert [cells[0] for cells in STEPS] == re.findall(r"report\.begin\((\d)\)", program)


def test_each_step_says_what_it_costs_what_shows_it_and_what_to_do_if_not() -> None:
    assert len(STEPS) == 9 and all(len(cells) == 5 and all(cells) for cells in STEPS)


def test_each_step_has_the_section_of_its_number_that_it_links() -> None:
    sections = re.findall(r"^## (\d\. .*)$", PAGE, re.M)
    anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in sections]
    assert [re.search(r"\]\(#(.*?)\)", cells[1])[1] for cells in STEPS] == anchors


def test_the_page_registers_the_providers_that_the_doctor_asks_for() -> None:
    (names,) = re.findall(r"^for provider in (.*?); do$", PAGE, re.M | re.S)
    assert tuple(names.replace("\\\n", " ").split()) == PROVIDERS
