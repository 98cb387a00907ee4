"""A day's orders: what is wrong with some, and what the others come to. Plain Python, knows nothing of Erlang."""

import petl

COUNTRIES = {"at", "br", "ca", "de", "fr", "jp"}

RULES = [
    {"name": "unknown country", "field": "country", "assertion": COUNTRIES.__contains__},
    {"name": "no number of items", "field": "items", "assertion": lambda items: int(items) > 0},
    {"name": "no price", "field": "cents", "test": int},
]


def day(path):
    """Which rows are refused, and for each country the orders that are good, and their worth in cents."""
    orders = petl.fromcsv(path, encoding="utf-8")
    problems = petl.validate(orders, constraints=RULES)
    refused = dict(petl.values(problems, "row", "name"))
    good = petl.addrownumbers(orders).selectnotin("row", refused).convert(("items", "cents"), int)
    totals = good.addfield("worth", lambda order: order["items"] * order["cents"]).aggregate(
        "country", {"orders": len, "worth": ("worth", sum)}
    )
    return {
        "rows": len(orders) - 1,
        "refused": refused,
        "totals": {country: (orders, worth) for country, orders, worth in totals.data()},
    }


def version():
    return petl.__version__
