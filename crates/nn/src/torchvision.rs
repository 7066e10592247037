//! What torchvision calls the layers of its models of images.

use crate::error::ModelError;
use crate::layer::LayerSpec;
use crate::model::InputSpec;
use crate::vision::{
    EFFICIENTNET, Inverted, LARGE, RESNET18, RESNET50, SMALL, VIT_BLOCKS, Vision, VisionSpec,
};
use std::collections::BTreeMap;

impl VisionSpec {
    /// The paths of the model's layers, without the kinds of layers, with torchvision's names of them: `layers.0` is `conv1`.
    ///
    /// # Errors
    /// If the model's numbers are invalid.
    pub fn torchvision_names(&self) -> Result<BTreeMap<String, String>, ModelError> {
        let (_, layers) = self.expand(InputSpec::none())?;
        let mut paths = Vec::new();
        learned(&layers, "layers", &mut paths);
        // Both are in the order in which the layers are computed.
        let names = match self.name {
            Vision::Resnet18 => resnet(RESNET18, 2),
            Vision::Resnet50 => resnet(RESNET50, 3),
            Vision::MobilenetV3Small => mobilenet(SMALL),
            Vision::MobilenetV3Large => mobilenet(LARGE),
            Vision::EfficientnetB0 => efficientnet(),
            Vision::ConvnextTiny => convnext(),
            Vision::VitSmall | Vision::VitBase => vision_transformer(),
        };
        Ok(paths.into_iter().zip(names).collect())
    }
}

/// The paths of all layers with parameters; of a layer scale that of its parameter, which has no module of its own.
fn learned(layers: &[LayerSpec], prefix: &str, paths: &mut Vec<String>) {
    for (i, layer) in layers.iter().enumerate() {
        let path = format!("{prefix}.{i}");
        match layer {
            LayerSpec::Conv2d(_)
            | LayerSpec::DepthwiseConv2d(_)
            | LayerSpec::Dense(_)
            | LayerSpec::BatchNorm(_)
            | LayerSpec::LayerNorm { .. } => paths.push(path),
            LayerSpec::LayerScale { .. } => paths.push(format!("{path}.gamma")),
            // Each has a name of its own there, and not of a module with a weight.
            LayerSpec::ImageToSequence { .. } => paths.push(format!("{path}.class_token")),
            LayerSpec::Positions(_) => paths.push(format!("{path}.weight")),
            LayerSpec::Attention(_) => paths.push(path),
            other => {
                for (name, layers) in other.nested() {
                    learned(layers, &format!("{path}.{name}"), paths);
                }
            }
        }
    }
}

/// A convolution and its norm.
fn pair(module: &str) -> [String; 2] {
    [0, 1].map(|part| format!("{module}.{part}"))
}

fn resnet(blocks: [usize; 4], convolutions: usize) -> Vec<String> {
    let mut names = vec!["conv1".to_owned(), "bn1".to_owned()];
    for (stage, &times) in blocks.iter().enumerate() {
        for block in 0..times {
            let module = format!("layer{}.{block}", stage + 1);
            for i in 1..=convolutions {
                names.extend(["conv", "bn"].map(|part| format!("{module}.{part}{i}")));
            }
            // The first block of a bottleneck's first stage has four times the channels.
            if block == 0 && (stage > 0 || convolutions == 3) {
                names.extend(pair(&format!("{module}.downsample")));
            }
        }
    }
    names.push("fc".to_owned());
    names
}

/// Of a block: expansion, depthwise convolution, squeeze and excite, projection.
fn inverted(module: &str, expands: bool, squeezes: bool) -> Vec<String> {
    let (mut names, mut at) = (Vec::new(), 0);
    let mut next = || {
        at += 1;
        format!("{module}.block.{}", at - 1)
    };
    if expands {
        names.extend(pair(&next()));
    }
    names.extend(pair(&next()));
    if squeezes {
        let part = next();
        names.extend(["fc1", "fc2"].map(|fc| format!("{part}.{fc}")));
    }
    names.extend(pair(&next()));
    names
}

fn mobilenet(blocks: &[Inverted]) -> Vec<String> {
    let mut names = pair("features.0").to_vec();
    let mut before = 16;
    for (i, &(_, expanded, filters, squeezes, ..)) in blocks.iter().enumerate() {
        names.extend(inverted(&format!("features.{}", i + 1), expanded != before, squeezes));
        before = filters;
    }
    names.extend(pair(&format!("features.{}", blocks.len() + 1)));
    names.extend(["classifier.0".to_owned(), "classifier.3".to_owned()]);
    names
}

fn efficientnet() -> Vec<String> {
    let mut names = pair("features.0").to_vec();
    for (stage, [expansion, .., times]) in EFFICIENTNET.into_iter().enumerate() {
        for block in 0..times {
            let module = format!("features.{}.{block}", stage + 1);
            names.extend(inverted(&module, expansion > 1, true));
        }
    }
    names.extend(pair(&format!("features.{}", EFFICIENTNET.len() + 1)));
    names.push("classifier.1".to_owned());
    names
}

fn convnext() -> Vec<String> {
    let mut names = pair("features.0").to_vec();
    for (stage, times) in [3, 3, 9, 3].into_iter().enumerate() {
        if stage > 0 {
            names.extend(pair(&format!("features.{}", 2 * stage)));
        }
        for block in 0..times {
            let module = format!("features.{}.{block}", 2 * stage + 1);
            names.extend([0, 2, 3, 5].map(|part| format!("{module}.block.{part}")));
            names.push(format!("{module}.layer_scale"));
        }
    }
    names.extend(["classifier.0".to_owned(), "classifier.2".to_owned()]);
    names
}

fn vision_transformer() -> Vec<String> {
    let mut names =
        ["conv_proj", "class_token", "encoder.pos_embedding"].map(str::to_owned).to_vec();
    for block in 0..VIT_BLOCKS {
        let module = format!("encoder.layers.encoder_layer_{block}");
        names.extend(
            ["ln_1", "self_attention", "ln_2", "mlp.0", "mlp.3"]
                .map(|part| format!("{module}.{part}")),
        );
    }
    names.extend(["encoder.ln", "heads.head"].map(str::to_owned));
    names
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn each_layer_has_one_name() {
        let all = [
            (Vision::Resnet18, 41),
            (Vision::Resnet50, 107),
            (Vision::MobilenetV3Small, 88),
            (Vision::MobilenetV3Large, 110),
            (Vision::EfficientnetB0, 131),
            (Vision::ConvnextTiny, 100),
            (Vision::VitSmall, 65),
            (Vision::VitBase, 65),
        ];
        for (name, number) in all {
            let spec = VisionSpec::new(name);
            let (_, layers) = spec.expand(InputSpec::none()).unwrap();
            let mut paths = Vec::new();
            learned(&layers, "layers", &mut paths);
            let names = spec.torchvision_names().unwrap();
            assert_eq!(names.len(), paths.len(), "{name:?}");
            // The number of modules with parameters in torchvision.
            let mut distinct: Vec<&String> = names.values().collect();
            distinct.sort();
            distinct.dedup();
            assert_eq!((distinct.len(), number), (paths.len(), paths.len()), "{name:?}");
        }
        let names = VisionSpec::new(Vision::Resnet50).torchvision_names().unwrap();
        assert_eq!(names["layers.4.layers.6"], "layer1.0.conv3");
        assert_eq!(names["layers.4.shortcut.1"], "layer1.0.downsample.1");
        let names = VisionSpec::new(Vision::ConvnextTiny).torchvision_names().unwrap();
        assert_eq!(names["layers.2.layers.4.gamma"], "features.1.0.layer_scale");
    }
}
