#!/usr/bin/env python3
"""River on a stream of bench/default_streams.py: `river_default.py FILE class|value|text MODEL...`; one JSON line a model.

Every event is predicted, then learned from; both at the model's defaults. Numbers are standardized and texts one-hot
encoded for linear models and for the forest that predicts values, whose leaves are linear; the other forest takes them
as they are.
"""

import csv
import json
import sys
import time

from river import compose, feature_extraction, forest, linear_model, multiclass, naive_bayes, optim, preprocessing


def rows(path, task):
    with open(path, newline="") as file:
        reader = csv.DictReader(file)
        all_rows = list(reader)
    names = [n for n in reader.fieldnames if n != "label"]

    def number(text):
        try:
            return float(text)
        except ValueError:
            return None

    # A column is numeric if every value in it is a number or missing.
    numeric = {n for n in names if task != "text" and all(r[n] == "" or number(r[n]) is not None for r in all_rows)}
    for r in all_rows:
        if task == "text":
            x = r["text"]
        else:
            x = {n: (float(r[n] or 0) if n in numeric else r[n] or "?") for n in names}
        yield x, float(r["label"]) if task == "value" else r["label"]


def encoded(model, task):
    if task == "text":
        return feature_extraction.BagOfWords(lowercase=True) | model
    scale = compose.SelectType(float) | preprocessing.StandardScaler()
    one_hot = compose.SelectType(str) | preprocessing.OneHotEncoder()
    return (scale + one_hot) | model


def binary(model, task):
    return encoded(multiclass.OneVsRestClassifier(model), task)


MODELS = {
    "ARF": lambda task: (
        encoded(forest.ARFRegressor(n_models=10, seed=42), task)
        if task == "value"
        else (feature_extraction.BagOfWords(lowercase=True) | forest.ARFClassifier(n_models=10, seed=42))
        if task == "text"
        else forest.ARFClassifier(n_models=10, seed=42)
    ),
    "LogisticRegression": lambda task: binary(linear_model.LogisticRegression(), task),
    "LogisticRegression AdaGrad": lambda task: binary(linear_model.LogisticRegression(optim.AdaGrad(0.1)), task),
    "SoftmaxRegression": lambda task: encoded(linear_model.SoftmaxRegression(), task),
    "ALMA": lambda task: binary(linear_model.ALMAClassifier(), task),
    "PA": lambda task: binary(linear_model.PAClassifier(), task),
    "Perceptron": lambda task: binary(linear_model.Perceptron(), task),
    "LinearRegression": lambda task: encoded(
        preprocessing.TargetStandardScaler(regressor=linear_model.LinearRegression()), task
    ),
    "LinearRegression plain": lambda task: encoded(linear_model.LinearRegression(), task),
    "PARegressor": lambda task: encoded(linear_model.PARegressor(), task),
    "BayesianLinearRegression": lambda task: encoded(linear_model.BayesianLinearRegression(), task),
}


def score(model, events, task):
    right, error, n, start = 0, 0.0, 0, time.perf_counter()
    for x, y in events:
        guess = model.predict_one(x)
        if task == "value":
            error += abs((guess or 0.0) - y)
        else:
            right += str(guess) == y
        model.learn_one(x, y)
        n += 1
    seconds = time.perf_counter() - start
    figure = {"mae": error / n} if task == "value" else {"accuracy": right / n}
    return {**figure, "events": n, "microseconds_per_event": seconds / n * 1e6}


if __name__ == "__main__":
    path, task, *names = sys.argv[1:]
    for name in names:
        events = list(rows(path, task))
        try:
            found = score(MODELS[name](task), events, task)
        except Exception as error:  # noqa: BLE001
            found = {"error": repr(error)[:200]}
        print(json.dumps({"model": name, **found}), flush=True)
