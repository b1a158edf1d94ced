"""An application with one SQLite database for each tenant: a bank, whose money never grows or shrinks.

    application.py run FOLDER TENANTS      writes to them until it is ended
    application.py check FOLDER TENANTS    all are there, and one was written to within the last ten seconds
    application.py prove FILE...           each is a state between two commits: prints how many commits it has seen
"""

import os
import random
import signal
import sqlite3
import sys
import time

ACCOUNTS = 50
BALANCE = 100


def path(folder, tenant):
    return os.path.join(folder, f"t{tenant}.db")


def found(file):
    """Makes the database, if it is not there yet. Every third one is in rollback mode."""
    bank = sqlite3.connect(file, isolation_level=None)
    if hash_of(file) % 3:
        bank.execute("PRAGMA journal_mode = WAL")
    bank.execute("BEGIN IMMEDIATE")
    bank.execute("CREATE TABLE IF NOT EXISTS account(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)")
    bank.execute("CREATE TABLE IF NOT EXISTS transfer(id INTEGER PRIMARY KEY, amount INTEGER NOT NULL)")
    accounts = ((number, BALANCE) for number in range(ACCOUNTS))
    bank.executemany("INSERT OR IGNORE INTO account VALUES (?, ?)", accounts)
    bank.execute("COMMIT")
    return bank


def hash_of(file):
    return sum(os.path.basename(file).encode())


def transfer(bank):
    """Moves money. Whoever sees only a part of it sees another sum."""
    giver, taker = random.sample(range(ACCOUNTS), 2)
    amount = random.randint(1, 10)
    bank.execute("BEGIN IMMEDIATE")
    bank.execute("UPDATE account SET balance = balance - ? WHERE id = ?", (amount, giver))
    bank.execute("UPDATE account SET balance = balance + ? WHERE id = ?", (amount, taker))
    bank.execute("INSERT INTO transfer(amount) VALUES (?)", (amount,))
    bank.execute("COMMIT")


def run(folder, tenants):
    os.makedirs(folder, exist_ok=True)
    for tenant in range(tenants):
        found(path(folder, tenant)).close()
    while True:
        # Some are written to far more often than others, and some for long not at all.
        tenant = int(random.paretovariate(0.5)) % tenants
        bank = found(path(folder, tenant))
        transfer(bank)
        bank.close()
        time.sleep(random.uniform(0.01, 0.1))


def check(folder, tenants):
    newest = 0
    for tenant in range(tenants):
        for file in (path(folder, tenant), path(folder, tenant) + "-wal"):
            if os.path.exists(file) or not file.endswith("-wal"):
                newest = max(newest, os.stat(file).st_mtime)
    return 0 if time.time() - newest < 10 else 1


def prove(files):
    for file in files:
        bank = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
        if bank.execute("PRAGMA integrity_check").fetchall() != [("ok",)]:
            sys.exit(f"{file}: it is damaged")
        total, = bank.execute("SELECT sum(balance) FROM account").fetchone()
        if total != ACCOUNTS * BALANCE:
            sys.exit(f"{file}: the money is {total}, not {ACCOUNTS * BALANCE}")
        print(*bank.execute("SELECT count(*) FROM transfer").fetchone(), file)
    return 0


def main(words):
    # As the first process of a container it would ignore SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    match words:
        case ["run", folder, tenants]:
            return run(folder, int(tenants))
        case ["check", folder, tenants]:
            return check(folder, int(tenants))
        case ["prove", *files]:
            return prove(files)
    sys.exit(__doc__)


sys.exit(main(sys.argv[1:]))
