"""
Used as a module of another workflow: Snakemake prints our shells with that workflow's names, and leaves our handlers
out. So what is printed gets the values of our names, and a run begins after what its user wants at the start.
"""

import re
import shlex


def named_values(shell):
    valued = re.sub(r"\{config\[(\w+)\]\}", lambda match: str(config[match[1]]), shell)
    return valued.replace("{SCRIPTS:q}", shlex.quote(SCRIPTS))


if not workflow.modifier.is_main_snakefile():
    for module_rule in workflow.modifier.rules:
        if module_rule.shellcmd:
            module_rule.shellcmd = named_values(module_rule.shellcmd)

    start_of_the_user = workflow._onstart

    def begin_module(log):
        start_of_the_user(log)
        begin_run()

    workflow._onstart = begin_module
