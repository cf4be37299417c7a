"""Check an Azure subscription before the first job: a line for each check, in the steps of docs/azure.md.

    python scripts/check_azure.py --offline
    python scripts/check_azure.py --profile profiles/azure-batch/config.yaml

Exit code 0: all is well; 1: something is wrong; 2: nothing is known to be wrong, but something could not be checked.
"""

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from pretrain_llama.checklist import Report, Unknown
from pretrain_llama.doctor import batch as batch_checks
from pretrain_llama.doctor import subscription
from pretrain_llama.doctor.corpora import check_sources
from pretrain_llama.doctor.image import check_image
from pretrain_llama.doctor.login import BATCH_SCOPE, MANAGEMENT_SCOPE, STORAGE_SCOPE, log_in
from pretrain_llama.doctor.profile import read_profile
from pretrain_llama.doctor.storage import check_first_run, check_storage
from pretrain_llama.doctor.variables import Settings, check_variables
from pretrain_llama.errors import run_program


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--offline", action="store_true", help="ask nothing of Azure, and say what is not checked")
    parser.add_argument("--corpora", type=Path, default=Path("config/corpora.tsv"), help="table of corpora")
    parser.add_argument(
        "--profile",
        type=Path,
        default=Path("profiles/azure-batch/config.yaml"),
        help="profile that says which machines a run asks for",
    )
    return parser.parse_args()


def _offline(scope: str) -> NoReturn:
    raise Unknown(f"nothing is asked of {urlsplit(scope).netloc} offline", "leave --offline out")


def main() -> None:
    args = parse_args()
    logging.getLogger("azure").setLevel(logging.CRITICAL)  # it tells at length what the lines below tell in short
    report = Report()
    settings = Settings.of(os.environ)
    log_in_to = _offline if args.offline else log_in
    report.begin(1)
    storage = report.check("login for storage", lambda: log_in_to(STORAGE_SCOPE))
    batch = report.check("login for Batch", lambda: log_in_to(BATCH_SCOPE))
    management = report.check("login for the subscription", lambda: log_in_to(MANAGEMENT_SCOPE))
    account, asked = batch_checks.of(settings, management, batch), subscription.of(settings, management)
    report.begin(2)
    subscription.check_providers(report, asked)
    report.begin(3)
    container = check_storage(report, settings, storage)
    found = batch_checks.check_account(report, account)
    subscription.check_identity(report, settings, asked)
    report.begin(4)
    check_variables(report, os.environ)
    pool = report.check(f"profile {args.profile}", lambda: read_profile(args.profile))
    report.begin(5)
    batch_checks.check_quota(report, account, found, pool)
    report.begin(6)
    check_image(report, settings, management)
    batch_checks.check_machines(report, account, pool)
    report.begin(7)
    check_sources(report, settings, args.corpora, storage)
    report.begin(8)
    check_first_run(report, container)
    report.begin(9)
    subscription.check_budget(report, asked)
    sys.exit(report.exit_code())


if __name__ == "__main__":
    run_program(main)
