"""Linear models of scikit-learn and River on rows of tables, texts and images, for any_data.py and foreign.py."""

import gzip
import io
import json
import math
import re
import tarfile

import numpy as np
import pandas as pd

MISSING = {"", "NA", "N/A", "?", "NaN", "nan", "null", "NULL", "None", "\\N"}
WORD = re.compile(r"\w+")


def text_of(path):
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def number(text):
    try:
        return float(text)
    except ValueError:
        return None


def is_id(name):
    return str(name).endswith(("Id", "_id"))


class Rows:
    """Columns of one kind each, `number`, `category`, `words` or `pixels`, and a label for each row."""

    def __init__(self, columns, labels, is_value):
        self.columns, self.labels, self.is_value = columns, labels, is_value

    def __len__(self):
        return len(self.labels)

    def take(self, places):
        places = list(places)
        taken = {n: (k, v[places] if k == "pixels" else [v[i] for i in places]) for n, (k, v) in self.columns.items()}
        return Rows(taken, [self.labels[i] for i in places], self.is_value)

    def labelled(self):
        return self.take(i for i, label in enumerate(self.labels) if label not in MISSING)

    def shuffled(self):
        return self.take(np.random.default_rng(1).permutation(len(self)))

    @staticmethod
    def read(path, header, delimiter, label):
        content = text_of(path)
        if header is None:
            frame = pd.DataFrame([json.loads(line) for line in content.splitlines() if line.strip()]).astype(str)
        else:
            quoting = 3 if delimiter == "\t" else 0
            width = max(line.count(delimiter) for line in content.splitlines()) + 1 if delimiter == "\t" else None
            names = None if header or width is None else range(width)
            frame = pd.read_csv(io.StringIO(content), sep=delimiter, header=0 if header else None, names=names,
                                dtype=str, keep_default_na=False, quoting=quoting, skipinitialspace=True)  # fmt: skip
            frame = frame.fillna("")
        if not header and header is not None:
            frame.columns = [f"c{i + 1}" for i in range(frame.shape[1])]
        label = label or next((n for n in ("class", "target", "label", "y") if n in frame), frame.columns[-1])
        labels = frame.pop(label).str.strip().tolist()
        known = [v for v in labels if v not in MISSING]
        numbers = [number(v) for v in known]
        # As `init` does: few whole numbers are classes.
        is_value = None not in numbers and (len(set(numbers)) > 20 or any(n % 1 for n in numbers))
        columns = {}
        for name in frame:
            values = frame[name].str.strip().tolist()
            kind = kind_of(name, values)
            if kind == "number":
                values = [number(v) if v not in MISSING else None for v in values]
                values = [v if v is None or math.isfinite(v) else None for v in values]
            if kind:
                columns[name] = (kind, values)
        return Rows(columns, labels, is_value)


def kind_of(name, values):
    """None for a column that is empty, or different in most rows: a time, a name."""
    there = [v for v in values if v not in MISSING]
    if not there:
        return None
    distinct = len(set(there))
    if all(number(v) is not None for v in there):
        return "category" if is_id(name) and distinct > 20 else "number"
    if sum(len(v.split()) for v in there) >= 4 * len(there) and 4 * distinct > len(there):
        return "words"
    return None if 2 * distinct > len(there) else "category"


def texts(root):
    """A folder of texts, a folder for each class."""
    files = sorted(p for p in root.glob("*/*") if p.is_file())
    return Rows({"text": ("words", [text_of(p) for p in files])}, [p.parent.name for p in files], False)


def idx(folder, part, count, small):
    """The first images of IDX files, also as such files in the folder `small`."""
    found = []
    for name in f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte":
        data = gzip.decompress((folder / f"{name}.gz").read_bytes())
        head = 4 + 4 * data[3]
        size = (len(data) - head) // int.from_bytes(data[4:8], "big")
        (small / name).write_bytes(data[:4] + count.to_bytes(4, "big") + data[8:head] + data[head : head + count * size])
        found.append(np.frombuffer(data, np.uint8, count * size, head).reshape(count, size))
    return Rows({"image": ("pixels", found[0] / 255.0)}, [str(v) for v in found[1][:, 0]], False)


def images(archive, part):
    """The images of one part of an archive, a folder for each class."""
    from PIL import Image

    pixels, labels = [], []
    with tarfile.open(archive) as file:
        for member in file:
            place = member.name.split("/")
            if member.isfile() and place[1] == part:
                image = Image.open(io.BytesIO(file.extractfile(member).read())).convert("RGB")
                pixels.append(np.asarray(image, np.float32).ravel() / 255.0)
                labels.append(place[2])
    return Rows({"image": ("pixels", np.stack(pixels))}, labels, False)


def score(predictions, labels, is_value):
    """Accuracy, or the mean absolute error and the root of the mean squared one."""
    pairs = [(p, t) for p, t in zip(predictions, labels, strict=True) if t not in MISSING]
    if not is_value:
        same = lambda p, t: p == t or (number(t) is not None and number(p) == number(t))  # noqa: E731
        return (sum(same(str(p).strip(), t) for p, t in pairs) / len(pairs),)
    errors = np.array([float(p or 0.0) - float(t) for p, t in pairs])
    return (float(np.abs(errors).mean()), float(np.sqrt((errors**2).mean())))


def below(ours, bar, count):
    """Whether a figure is below: an accuracy by more than the standard error of so many rows."""
    if ours is None or bar is None:
        return False
    if len(ours) == 1:
        return ours[0] < bar[0] - math.sqrt(bar[0] * (1 - bar[0]) / count)
    return any(a > b for a, b in zip(ours, bar))


def features(rows):
    """What turns a frame of these columns into inputs: standardized, one-hot, or TF-IDF."""
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    of = lambda kind: [n for n, (k, _) in rows.columns.items() if k == kind]  # noqa: E731
    parts = [("numbers", make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler()), of("number"))]
    parts.append(("categories", OneHotEncoder(handle_unknown="ignore"), of("category")))
    parts += [(f"words {n}", TfidfVectorizer(), n) for n in of("words")]
    return ColumnTransformer(parts)


def inputs(rows):
    return pd.DataFrame({n: pd.Series(v, dtype=float if k == "number" else object) for n, (k, v) in rows.columns.items()})


def batch(train, test):
    """scikit-learn's linear model of the training rows, scored on the test rows."""
    from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier

    if "image" in train.columns:
        x, held_out = train.columns["image"][1], test.columns["image"][1]
    else:
        encoder = features(train)
        x, held_out = encoder.fit_transform(inputs(train)), encoder.transform(inputs(test))
    if train.is_value:
        model, y = Ridge(), [float(v) for v in train.labels]
    else:
        # Its passes over many rows or classes are quicker than LogisticRegression's.
        large = len(train) > 100_000 or len(set(train.labels)) > 100
        model, y = SGDClassifier(loss="log_loss", max_iter=20, random_state=1) if large else LogisticRegression(max_iter=300), train.labels
    return score(model.fit(x, y).predict(held_out), test.labels, train.is_value)


def events(rows, most):
    """Rows as River takes them: floats are standardized, texts one-hot, whole numbers counts of words."""
    sums, counts = {}, {}
    for i in range(min(len(rows), most)):
        x = {}
        for name, (kind, values) in rows.columns.items():
            v = values[i]
            if kind == "pixels":
                x.update((f"p{j}", float(p)) for j, p in enumerate(v))
            elif kind == "words":
                for word in WORD.findall(v.lower()):
                    x[f"{name}:{word}"] = x.get(f"{name}:{word}", 0) + 1
            elif kind == "category":
                x[name] = v
            else:
                if v is not None:
                    sums[name], counts[name] = sums.get(name, 0.0) + v, counts.get(name, 0) + 1
                # A missing number is the mean so far.
                x[name] = sums[name] / counts[name] if name in counts and v is None else float(v or 0.0)
        yield x, rows.labels[i]


def online(rows, most):
    """The better of River's linear models, each row predicted, then learned from; from the second label on."""
    from river import compose, linear_model, preprocessing

    def model(last):
        scale = compose.SelectType(float) | preprocessing.StandardScaler()
        one_hot = compose.SelectType(str) | preprocessing.OneHotEncoder()
        words = compose.SelectType(int)
        if "image" in rows.columns:
            return last
        return (scale + one_hot + words) | last

    classes = len({label for label in rows.labels if label not in MISSING})
    if rows.is_value:
        scaled = lambda m: preprocessing.TargetStandardScaler(regressor=m)  # noqa: E731
        models = [scaled(linear_model.LinearRegression()), linear_model.LinearRegression(), linear_model.PARegressor()]
    else:
        models = [linear_model.LogisticRegression() if classes == 2 else linear_model.SoftmaxRegression()]
    found = []
    for last in models:
        one, predictions, labels = model(last), [], []
        names = {}
        for x, label in events(rows, most):
            if label in MISSING:
                continue
            if rows.is_value:
                truth = float(label)
            elif classes == 2:
                truth = bool(names.setdefault(label, len(names)))
            else:
                truth = label
            guess = one.predict_one(x) if labels else None
            if classes == 2 and not rows.is_value and guess is not None:
                guess = next((n for n, v in names.items() if bool(v) == guess), None)
            predictions.append(guess)
            labels.append(label)
            one.learn_one(x, truth)
        found.append(score(predictions[1:], labels[1:], rows.is_value))
    finite = [f for f in found if all(math.isfinite(v) for v in f)]
    return (min if rows.is_value else max)(finite) if finite else None
