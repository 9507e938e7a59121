fn main() {
    let out = std::env::var("OUT_DIR").unwrap();
    std::fs::copy("../observer-ebpf/target/bpfel-unknown-none/release/observer-ebpf", format!("{out}/observer-ebpf.o")).unwrap();
    println!("cargo:rerun-if-changed=../observer-ebpf/target/bpfel-unknown-none/release/observer-ebpf");
}
