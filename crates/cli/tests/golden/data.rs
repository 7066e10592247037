//! The data of the jobs: small, made by whole numbers alone, the same on every machine.

use std::fmt::Write;
use std::path::Path;

use super::common::{succeed, text};

/// Pseudo-random whole numbers.
struct Numbers(u64);

impl Numbers {
    /// The next one below `n`.
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }

    /// The next one as a decimal from -5 to 5, and in thousandths.
    fn decimal(&mut self) -> (String, i64) {
        let n = self.below(10_001) as i64 - 5000;
        let sign = if n < 0 { "-" } else { "" };
        (format!("{sign}{}.{:03}", n.abs() / 1000, n.abs() % 1000), n)
    }
}

/// Writes all of it into a folder.
pub fn write(folder: &Path) {
    let out = folder.join("digits");
    succeed(&["data", "digits", "--out", text(&out), "--train", "6", "--test", "2", "--seed", "5"]);
    images(folder);
    table(folder);
    events(folder);
    wide(folder);
    ratings(folder);
    late(folder);
    sparse(folder);
    succeed(&[
        "data",
        "numerals",
        "--out",
        text(&folder.join("numerals")),
        "--train",
        "300",
        "--test",
        "40",
    ]);
}

fn file(folder: &Path, name: &str, content: impl AsRef<[u8]>) {
    std::fs::write(folder.join(name), content).unwrap();
}

/// `images` and `labels`: 150 images of 28x28 in 10 classes, as IDX.
fn images(folder: &Path) {
    let mut random = Numbers(1);
    let (mut images, mut labels) = (vec![0, 0, 8, 3], vec![0, 0, 8, 1]);
    for n in [150u32, 28, 28] {
        images.extend(n.to_be_bytes());
    }
    labels.extend(150u32.to_be_bytes());
    for _ in 0..150 {
        let class = random.below(10) as u8;
        labels.push(class);
        for pixel in 0..28 * 28 {
            // A bright bar where the class is, and noise.
            let bright = (pixel % 28) / 3 == usize::from(class);
            images.push(random.below(if bright { 256 } else { 60 }) as u8);
        }
    }
    file(folder, "images", images);
    file(folder, "labels", labels);
}

/// `train.csv` and `test.csv`: numbers, a category, two ids; a class and a value to learn.
fn table(folder: &Path) {
    let mut random = Numbers(2);
    for (name, rows) in [("train.csv", 230), ("test.csv", 60)] {
        let mut lines = "a,b,kind,user,item,class,value\n".to_string();
        for _ in 0..rows {
            let ((a, na), (b, nb)) = (random.decimal(), random.decimal());
            let kind = ["round", "square", "long"][random.below(3) as usize];
            let (user, item) = (random.below(20), random.below(30));
            let class = ["no", "yes", "perhaps"][usize::from(na + nb > 0) + usize::from(nb > 2500)];
            let value = (na * 2 - nb) / 100 + user as i64;
            writeln!(lines, "{a},{b},{kind},{user},{item},{class},{value}").unwrap();
        }
        file(folder, name, lines);
    }
}

/// `events.csv` and `binary.csv`: two numbers and a category, of which the class follows, in another
/// way from the middle on; some rows are broken, far out or of no class.
fn events(folder: &Path) {
    let mut random = Numbers(3);
    let mut three = "a,b,kind,class\n".to_string();
    let mut two = "a,b,c,class\n".to_string();
    for i in 0..1500 {
        let ((a, na), (b, nb)) = (random.decimal(), random.decimal());
        let kind = ["x", "y", "z"][random.below(3) as usize];
        let score = if i < 700 { na + nb / 2 } else { nb - na } + i64::from(kind == "x") * 1500;
        let class = ["low", "middle", "high"][usize::from(score > 0) + usize::from(score > 2500)];
        three += &match i % 97 {
            11 => format!("{a},NaN,{kind},{class}\n"),
            23 => format!("{a},{b}\n"),
            53 => format!("1e30,{b},{kind},{class}\n"),
            71 => format!("{a},,{kind},{class}\n"),
            89 => format!("{a},{b},{kind},\n"),
            _ => format!("{a},{b},{kind},{class}\n"),
        };
        let c = random.decimal().0;
        writeln!(two, "{a},{b},{c},{}", if score > 0 { "UP" } else { "DOWN" }).unwrap();
    }
    file(folder, "events.csv", three);
    file(folder, "binary.csv", two);
}

/// `wide.csv`: words of a text and 33 numbers, so that the default lowers its rate.
fn wide(folder: &Path) {
    let mut random = Numbers(4);
    let names: Vec<String> = (0..33).map(|i| format!("x{i}")).collect();
    let mut lines = format!("said,{},class\n", names.join(","));
    for i in 0..500 {
        let word = random.below(40);
        let mut sum = 0;
        let numbers: Vec<String> = (0..33)
            .map(|_| {
                let (text, n) = random.decimal();
                sum += n;
                text
            })
            .collect();
        let class = u8::from(sum / 10 + (word % 5) as i64 * 800 > 1600);
        writeln!(lines, "the w{word} of {},{},{class}", i % 90, numbers.join(",")).unwrap();
    }
    file(folder, "wide.csv", lines);
}

/// `ratings.csv`: users and films, some of them seen once, and how many stars.
fn ratings(folder: &Path) {
    let mut random = Numbers(5);
    let mut lines = "userId,movieId,rating,timestamp\n".to_string();
    for i in 0..1200 {
        let user = random.below(30) + i / 100;
        let film = random.below(90) * (1 + random.below(2));
        let half_stars = 2 + (user * 7 + film * 3) % 8 + random.below(2);
        let rating = format!("{}.{}", half_stars / 2, half_stars % 2 * 5);
        writeln!(lines, "{user},{film},{rating},{}", 964_982_703 + i * 60).unwrap();
    }
    file(folder, "ratings.csv", lines);
}

/// `late.jsonl`: events and, up to 60 records later, twice, or not at all, their labels.
fn late(folder: &Path) {
    let mut random = Numbers(6);
    let mut at = Vec::new();
    for i in 0..900 {
        let ((a, na), (b, nb)) = (random.decimal(), random.decimal());
        let kind = random.below(50);
        let label = format!("{{\"id\":{i},\"class\":{}}}\n", u8::from(na + nb > 1000));
        let event = format!("{{\"id\":{i},\"a\":{a},\"b\":{b},\"kind\":\"k{kind}\"}}\n");
        at.push((2 * i, event));
        let delay = random.below(60);
        match i % 31 {
            11 => {}
            13 => at.extend([(2 * i + delay, label.clone()), (2 * i + 90, label)]),
            17 if i > 100 => at.push((2 * i - delay, label)),
            23 => at.push((2 * i + 150, label)),
            _ => at.push((2 * i + delay, label)),
        }
    }
    at.sort_by_key(|(at, _)| *at);
    file(folder, "late.jsonl", at.into_iter().map(|(_, line)| line).collect::<String>());
}

/// `sparse.vw`: eight words of 4096, weights and values.
fn sparse(folder: &Path) {
    let mut random = Numbers(7);
    let mut lines = String::new();
    for i in 0..1500 {
        let words: Vec<u64> = (0..8).map(|_| random.below(400)).collect();
        let yes = words.iter().filter(|&&w| w % 3 == i / 800).count() > 2;
        let features: Vec<String> = words.iter().map(|w| format!("w{w}:{}", 1 + w % 3)).collect();
        let label = if yes { "1" } else { "-1" };
        writeln!(lines, "{label} {} | {}", 1 + i % 2, features.join(" ")).unwrap();
    }
    file(folder, "sparse.vw", lines);
}
