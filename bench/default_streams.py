#!/usr/bin/env python3
"""Makes the streams that bench/default.py scores the one default on: CSV files with a header, label last.

    python bench/default_streams.py FOLDER [NAME...]     # what is there already is kept

Nine are made from the datasets of ../shared/data (or $TIDEMILL_DATA), three by River's generators. Columns that tell the
label are left out (departure delays of flights, counts of casual riders).
"""

import csv
import datetime
import gzip
import io
import itertools
import os
import pathlib
import sys
import zipfile

import further_streams

ROOT = pathlib.Path(__file__).resolve().parents[1]
DATA = pathlib.Path(os.environ.get("TIDEMILL_DATA", ROOT.parent / "shared/data"))

KDD = (
    "duration protocol_type service flag src_bytes dst_bytes land wrong_fragment urgent hot num_failed_logins logged_in "
    "num_compromised root_shell su_attempted num_root num_file_creations num_shells num_access_files num_outbound_cmds "
    "is_host_login is_guest_login count srv_count serror_rate srv_serror_rate rerror_rate srv_rerror_rate same_srv_rate "
    "diff_srv_rate srv_diff_host_rate dst_host_count dst_host_srv_count dst_host_same_srv_rate dst_host_diff_srv_rate "
    "dst_host_same_src_port_rate dst_host_srv_diff_host_rate dst_host_serror_rate dst_host_srv_serror_rate "
    "dst_host_rerror_rate dst_host_srv_rerror_rate"
).split()
# A fifth of the connections, in their order: River's forest takes an hour for all.
KDD_EVERY = 5
ADULT = (
    "age workclass fnlwgt education education_num marital occupation relationship race sex gain loss hours country"
).split()
AIRLINES = (
    "Year Month DayofMonth DayOfWeek CRSDepTime CRSArrTime UniqueCarrier FlightNum Origin Dest Distance"
).split()
BIKES = "season mnth hr holiday weekday workingday weathersit temp atemp hum windspeed".split()
METRO = "holiday temp rain_1h snow_1h clouds_all weather_main".split()
PM25 = "year month day hour DEWP TEMP PRES cbwd Iws Is Ir".split()
GENERATED = 50_000


def unzipped(path, ends):
    archive = zipfile.ZipFile(DATA / path)
    name = next(n for n in archive.namelist() if n.endswith(ends))
    return io.TextIOWrapper(archive.open(name), "latin-1")


def table(path):
    """A file that has its header and its label last."""

    def make():
        rows = csv.reader(gzip.open(DATA / path, "rt"))
        return [*next(rows)[:-1], "label"], rows

    return make


def covertype():
    rows = csv.reader(gzip.open(DATA / "covertype_20k/covtype.20k.data.gz", "rt"))
    return [*(f"f{i}" for i in range(54)), "label"], (row for row in rows if row)


def kdd():
    rows = csv.reader(gzip.open(DATA / "kddcup99/kddcup.data_10_percent.gz", "rt"))
    rows = itertools.islice(rows, 0, None, KDD_EVERY)
    return [*KDD, "label"], ([*row[:-1], row[-1].rstrip(".")] for row in rows)


def adult():
    def rows():
        for name in ("adult.data.gz", "adult.test.gz"):
            for row in csv.reader(gzip.open(DATA / "adult_census" / name, "rt"), skipinitialspace=True):
                if len(row) == 15:
                    yield [*("" if v == "?" else v for v in row[:-1]), "1" if row[-1].startswith(">") else "0"]

    return [*ADULT, "label"], rows()


def airlines():
    rows = csv.DictReader(unzipped("airlines_2k/allyears2k_headers.zip", ".csv"))
    late = {"YES": "1", "NO": "0"}
    return [*AIRLINES, "label"], ([*("" if r[c] == "NA" else r[c] for c in AIRLINES), late[r["IsArrDelayed"]]] for r in rows)


def bikes():
    rows = csv.DictReader(unzipped("bike_sharing/Bike-Sharing-Dataset.zip", "hour.csv"))
    return [*BIKES, "label"], ([*(r[c] for c in BIKES), r["cnt"]] for r in rows)


def metro():
    def rows():
        for r in csv.DictReader(gzip.open(DATA / "metro_traffic/Metro_Interstate_Traffic_Volume.csv.gz", "rt")):
            when = datetime.datetime.fromisoformat(r["date_time"])
            yield [*(r[c] for c in METRO), when.hour, when.weekday(), when.month, r["traffic_volume"]]

    return [*METRO, "hour", "weekday", "month", "label"], rows()


def pm25():
    rows = csv.DictReader(gzip.open(DATA / "beijing_pm25/PRSA_data_2010.1.1-2014.12.31.csv.gz", "rt"))
    return [*PM25, "label"], ([*(r[c] for c in PM25), r["pm2.5"]] for r in rows if r["pm2.5"] != "NA")


def sms():
    lines = open(DATA / "sms_spam/SMSSpamCollection", encoding="utf-8")
    return ["text", "label"], ([line.split("\t", 1)[1].strip(), line.split("\t", 1)[0]] for line in lines)


def generated(make):
    def rows():
        for x, y in itertools.islice(make(), GENERATED):
            yield [*(f"{v:.5f}" if isinstance(v, float) else v for v in x.values()), int(y)]

    def head():
        x, _ = next(make())
        return [*(f"x{k}" for k in x), "label"], rows()

    return head


def hyperplane():
    from river.datasets import synth

    options = {"n_features": 10, "n_drift_features": 5, "mag_change": 0.01, "noise_percentage": 0.05, "sigma": 0.1}
    return iter(synth.Hyperplane(seed=42, **options))


def rbf():
    from river.datasets import synth

    options = {"n_classes": 4, "n_features": 8, "n_centroids": 30, "change_speed": 0.0005, "n_drift_centroids": 30}
    return iter(synth.RandomRBFDrift(seed_model=42, seed_sample=42, **options))


def stagger():
    """The three concepts in turn, 2,500 events each."""
    from river.datasets import synth

    concepts = [iter(synth.STAGGER(classification_function=i, seed=10 + i)) for i in range(3)]
    for i in itertools.count():
        yield next(concepts[i // 2500 % 3])


STREAMS = {
    "elec2": table("electricity/elec2_8.csv.gz"),
    "sea": table("sea/sea_50k.csv.gz"),
    "weather": table("weather_noaa/weather.csv.gz"),
    "sms": sms,
    "airlines": airlines,
    "kdd": kdd,
    "adult": adult,
    "phishing": table("phishing_websites/phishing.csv.gz"),
    "covertype": covertype,
    "bikes": bikes,
    "metro": metro,
    "pm25": pm25,
    "hyperplane": generated(hyperplane),
    "rbf": generated(rbf),
    "stagger": generated(stagger),
}
REGRESSION = {"bikes", "metro", "pm25", *further_streams.REGRESSION}


def make(name, folder):
    """The file of a stream, made unless it is there."""
    path = pathlib.Path(folder) / f"{name}.csv"
    if not path.exists():
        head, rows = (STREAMS | further_streams.FURTHER)[name]()
        part = path.with_suffix(".part")
        with open(part, "w", newline="") as file:
            out = csv.writer(file, lineterminator="\n")
            out.writerow(head)
            out.writerows(rows)
        part.rename(path)
    return path


if __name__ == "__main__":
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or STREAMS:
        print(make(name, folder))
