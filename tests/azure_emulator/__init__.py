"""Azure on loopback, for tests: what Snakemake's Batch executor, the storage clients and the doctor call.

    proxy.py         what clients connect to; it ends TLS, and refuses every host that is not emulated
    management.py    management.azure.com: accounts, quotas, pools
    batch.py         *.batch.azure.com: jobs, tasks, nodes, files; tasks.py runs each task as a local process
    contract.py      refuses what the models of the official clients do not know
    limits.py        refuses what no schema holds: names, sizes, quotas
    autoscale.py     what the formula of a pool asks for; formulas.py reads its language
    blobs.py         *.blob.core.windows.net, relayed to Azurite (azurite.py); hierarchy.py: folders that are real
    registry.py      *.azurecr.io: login, and what an image was built for
    login.py         the token endpoint of a managed identity
    faults.py        what tests make go wrong
    traffic.py       counts and a log of all requests
    service.py       all of it together: start here

The real services are never reached. What is known to differ from them: a task's container image is not used; tasks
run as the user who runs the tests; an identity has every right, unless a fault refuses it.
"""
