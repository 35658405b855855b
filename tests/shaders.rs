//! Every shader, as the project assembles it: parsed and validated by naga, its bindings, workgroup storage and parameter
//! offsets compared with what the Rust side believes.
#![cfg(not(target_arch = "wasm32"))]

use naga::front::wgsl;
use naga::valid::{Capabilities, ValidationFlags, Validator};
use naga::{AddressSpace, Module, StorageAccess, TypeInner};
use phiquant::engine::gpu::shader::{Access, FAMILIES, Family, assemble};
use std::path::Path;

fn each(mut check: impl FnMut(&Family, &str, &Module)) {
    for family in FAMILIES {
        for variant in family.variants {
            let name = format!("{} {variant}", family.name);
            let text = assemble(family.name, variant).unwrap_or_else(|e| panic!("{name}: {e}"));
            let module = wgsl::parse_str(&text).unwrap_or_else(|e| panic!("{name}: {}", e.emit_to_string(&text)));
            check(family, variant, &module);
        }
    }
}

#[test]
fn all_are_valid_without_any_optional_feature() {
    each(|family, variant, module| {
        let result = Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(module);
        result.unwrap_or_else(|e| panic!("{} {variant}: {e:?}", family.name));
        let mains: Vec<_> = module.entry_points.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(mains, ["main"], "{} {variant}", family.name);
    });
}

#[test]
fn bindings_are_as_the_table_says() {
    each(|family, variant, module| {
        let mut found: Vec<_> = module
            .global_variables
            .iter()
            .filter_map(|(_, variable)| Some((variable.binding?.binding, variable.space)))
            .collect();
        found.sort_by_key(|(binding, _)| *binding);
        let mut expected = vec![(0, AddressSpace::Uniform)];
        expected.extend(family.storage.iter().zip(1..).map(|(access, binding)| {
            let access = match access {
                Access::Read => StorageAccess::LOAD,
                Access::Write => StorageAccess::LOAD | StorageAccess::STORE,
            };
            (binding, AddressSpace::Storage { access })
        }));
        assert_eq!(found, expected, "{} {variant}", family.name);
    });
}

#[test]
fn parameters_have_the_offsets_of_the_rust_structs() {
    each(|family, variant, module| {
        let (_, variable) = module
            .global_variables
            .iter()
            .find(|(_, variable)| variable.space == AddressSpace::Uniform)
            .expect("every shader has parameters");
        let TypeInner::Struct { members, .. } = &module.types[variable.ty].inner else {
            panic!("{} {variant}: the parameters are no struct", family.name);
        };
        let found: Vec<_> =
            members.iter().map(|member| (member.name.as_deref().unwrap_or_default(), member.offset as usize)).collect();
        assert_eq!(found, family.params, "{} {variant}", family.name);
    });
}

#[test]
fn workgroups_fit_the_default_limits() {
    each(|family, variant, module| {
        let storage: u32 = module
            .global_variables
            .iter()
            .filter(|(_, variable)| variable.space == AddressSpace::WorkGroup)
            .map(|(_, variable)| module.types[variable.ty].inner.size(module.to_ctx()))
            .sum();
        assert!(storage <= 16 * 1024, "{} {variant}: {storage} bytes of workgroup storage", family.name);
        let [x, y, z] = module.entry_points[0].workgroup_size;
        assert!(x * y * z <= 256 && x <= 256 && y <= 256 && z <= 64, "{} {variant}: {x}×{y}×{z} threads", family.name);
    });
}

#[test]
fn no_file_is_left_out() {
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders"), "", &mut files);
    assert!(files.len() > 10, "{files:?}");
    let imported: Vec<String> = FAMILIES
        .iter()
        .flat_map(|family| {
            family.variants.iter().map(|variant| phiquant::engine::gpu::shader::imports(family.name, variant).unwrap())
        })
        .flatten()
        .collect();
    for file in files {
        assert!(imported.contains(&file), "no shader uses shaders/{file}");
    }
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            collect(&entry.path(), &format!("{name}/"), files);
        } else {
            files.push(name);
        }
    }
}
