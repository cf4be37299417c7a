"""What Azure's own models and types say of what this project sends: judges that nobody here wrote.

    bodies.py     which model describes which request; models.py walks a body along it
    published.py  walks a value along Azure's published types, tests/data/azure_types
    bicep.py      reads main.bicep
    judge.py      a program: judges recorded requests
    record.py     runs the executor and the doctor against emulated Azure, and keeps what they send
    judge_*.py    the tests of `make azure-contract`, in an environment of their own: envs/azure_contract

models.py and bodies.py serve tests/azure_emulator, too: what it does not find in the models of the locked clients, it
refuses.
"""
