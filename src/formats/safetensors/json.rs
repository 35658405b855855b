//! The header's JSON text, with double names noticed and lists bounded.

use crate::bail;
use crate::error::Result;
use serde::de::{self, Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

/// PyTorch's practical most; a Phi's tensors have one or two.
const MAX_DIMS: usize = 8;

/// A header as it stands there, unchecked.
pub(super) struct Raw {
    pub metadata: Vec<(String, String)>,
    pub tensors: Vec<(String, Entry)>,
}

pub(super) struct Entry {
    pub dtype: String,
    pub shape: Vec<u64>,
    pub data_offsets: (u64, u64),
}

pub(super) fn parse(text: &[u8]) -> Result<Raw> {
    if text.first() != Some(&b'{') {
        bail!(BadHeader, "the header does not begin with {{, so this is no safetensors file");
    }
    match serde_json::from_slice(text) {
        Ok(raw) => Ok(raw),
        Err(e) => bail!(BadHeader, "the header is not what safetensors allows: {e}"),
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Raw;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut raw = Raw { metadata: Vec::new(), tensors: Vec::new() };
                let mut seen = HashSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        return Err(de::Error::custom(format!("the name {name:?} stands there twice")));
                    }
                    if name == "__metadata__" {
                        raw.metadata = map.next_value::<Pairs>()?.0;
                    } else {
                        let entry = map.next_value::<Entry>();
                        raw.tensors.push((name.clone(), entry.map_err(|e| named(&name, e))?));
                    }
                }
                Ok(raw)
            }
        }
        deserializer.deserialize_map(Names)
    }
}

fn named<E: de::Error>(name: &str, error: E) -> E {
    de::Error::custom(format!("tensor {name:?}: {error}"))
}

/// `__metadata__`: texts by name.
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = Pairs;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Texts)
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object with dtype, shape and data_offsets")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
                let (mut dtype, mut shape, mut data_offsets) = (None, None, None);
                while let Some(field) = map.next_key::<String>()? {
                    let twice = match field.as_str() {
                        "dtype" => dtype.replace(map.next_value()?).is_some(),
                        "shape" => shape.replace(map.next_value::<Shape>()?.0).is_some(),
                        "data_offsets" => data_offsets.replace(map.next_value()?).is_some(),
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                            false
                        }
                    };
                    if twice {
                        return Err(de::Error::custom(format!("{field} stands there twice")));
                    }
                }
                match (dtype, shape, data_offsets) {
                    (Some(dtype), Some(shape), Some(data_offsets)) => Ok(Entry { dtype, shape, data_offsets }),
                    (None, ..) => Err(de::Error::missing_field("dtype")),
                    (_, None, _) => Err(de::Error::missing_field("shape")),
                    (_, _, None) => Err(de::Error::missing_field("data_offsets")),
                }
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// A list of at most [`MAX_DIMS`] numbers.
struct Shape(Vec<u64>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Dims;
        impl<'de> Visitor<'de> for Dims {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a list of sizes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
                let mut dims = Vec::new();
                while let Some(dim) = seq.next_element()? {
                    if dims.len() == MAX_DIMS {
                        return Err(de::Error::custom(format!("more than {MAX_DIMS} dimensions")));
                    }
                    dims.push(dim);
                }
                Ok(Shape(dims))
            }
        }
        deserializer.deserialize_seq(Dims)
    }
}
