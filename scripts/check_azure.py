"""Check an Azure subscription before the first job: variables, login, storage, Batch quota, image. A line for each.

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
from pretrain_llama.doctor.batch import check_batch
from pretrain_llama.doctor.login import BATCH_SCOPE, MANAGEMENT_SCOPE, STORAGE_SCOPE, log_in
from pretrain_llama.doctor.profile import read_profile
from pretrain_llama.doctor.sources import check_sources
from pretrain_llama.doctor.storage import check_storage
from pretrain_llama.doctor.variables import check_variables
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
    settings = check_variables(report, os.environ)
    log_in_to = _offline if args.offline else log_in
    pool = report.check(f"profile {args.profile}", lambda: read_profile(args.profile))
    storage = report.check("login for storage", lambda: log_in_to(STORAGE_SCOPE))
    batch = report.check("login for Batch", lambda: log_in_to(BATCH_SCOPE))
    management = report.check("login for the subscription", lambda: log_in_to(MANAGEMENT_SCOPE))
    check_storage(report, settings, storage)
    check_sources(report, settings, args.corpora, storage)
    check_batch(report, settings, pool, management, batch)
    sys.exit(report.exit_code())


if __name__ == "__main__":
    run_program(main)
