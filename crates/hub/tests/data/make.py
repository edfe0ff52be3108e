"""Makes the two GeoIP databases of the tests, with documentation addresses (RFC 5737, RFC 3849) in made-up places.

pip install mmdb-writer; python make.py
"""

from netaddr import IPSet
from mmdb_writer import MMDBWriter


def place(continent, country, part=None):
    record = {"continent": {"code": continent}, "country": {"iso_code": country}}
    if part:
        record["subdivisions"] = [{"iso_code": part}]
    return record


def write(path, places):
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="GeoLite2-City", languages=["en"])
    for network, record in places.items():
        writer.insert_network(IPSet([network]), record)
    writer.to_db_file(path)


write(
    "before.mmdb",
    {
        "203.0.113.0/24": place("EU", "DE", "BY"),
        "198.51.100.0/24": place("NA", "US"),
        "2001:db8::/32": place("AS", "JP", "13"),
    },
)
write("after.mmdb", {"203.0.113.0/24": place("EU", "FR")})
