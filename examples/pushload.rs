//! scratch: server side read efficiency
#![allow(
    clippy::all,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    clippy::cast_possible_truncation
)]
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use wiber::client::*;

struct Server {
    child: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}
impl Server {
    fn start(binary: &str) -> Server {
        let dir = tempfile::tempdir_in("/work/wt-push/target").unwrap();
        let mut c = Command::new(binary);
        c.env_clear().current_dir(dir.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        for (n, v) in [
            ("QB_DATA_DIR", dir.path().join("data").display().to_string()),
            ("QB_SERVER_PORT", "0".into()),
            ("QB_STORAGE__SYNC", "os".into()),
            ("QB_LOG_LEVEL", "INFO".into()),
        ] {
            c.env(n, v);
        }
        let mut child = c.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = loop {
            let l = lines.next().unwrap().unwrap();
            if let Some((_, r)) = l.split_once("listening (native protocol)")
                && let Some((_, a)) = r.split_once("address=")
            {
                break a.split(' ').next().unwrap().parse().unwrap();
            }
        };
        std::thread::spawn(move || {
            lines.for_each(|l| {
                if let Ok(l) = l
                    && (l.contains("WARN") || l.contains("ERROR"))
                {
                    eprintln!("{l}")
                }
            })
        });
        Server { child, address, _dir: dir }
    }
    fn cpu(&self) -> f64 {
        let s = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let f: Vec<&str> = s.rsplit_once(')').unwrap().1.split_whitespace().collect();
        (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
    }
    fn rss(&self) -> (u64, u64) {
        let s = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let g = |n: &str| {
            s.lines().find(|l| l.starts_with(n)).unwrap().split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
                / 1024
        };
        (g("VmRSS:"), g("VmHWM:"))
    }
    fn options(&self) -> ClientOptions {
        ClientOptions { host: self.address.ip().to_string(), port: self.address.port(), ..ClientOptions::default() }
    }
}
impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn frame(kind: u32, seq: u64, props: &[(&str, &str)]) -> Vec<u8> {
    let mut p = Vec::new();
    for (k, v) in props {
        p.extend(k.as_bytes());
        p.push(b'=');
        p.extend(v.as_bytes());
        p.push(0);
    }
    let mut f = Vec::new();
    f.extend(((32 + p.len()) as u32).to_be_bytes());
    f.extend(kind.to_be_bytes());
    f.extend(seq.to_be_bytes());
    f.extend(0u64.to_be_bytes());
    f.extend((p.len() as u32).to_be_bytes());
    f.extend(&p);
    f.extend(0u32.to_be_bytes());
    f
}
/// Drains frames until record `end` was seen. mode: 16 batches, 5 data, 10 fetch
fn drain(addr: SocketAddr, topic: &str, mode: u32, from: u64, end: u64, max_bytes: usize) {
    let mut s = TcpStream::connect(addr).unwrap();
    s.set_nodelay(true).unwrap();
    let mut next = from;
    let mut buf = vec![0u8; 2 << 20];
    let (mut a, mut b) = (0usize, 0usize);
    let mb = max_bytes.to_string();
    let ask = |s: &mut TcpStream, next: u64| {
        let off = next.to_string();
        let mut p = vec![("topic", topic), ("offset", off.as_str())];
        if mode == 10 {
            p.push(("wiber.max_bytes", mb.as_str()));
            p.push(("wiber.max_wait_ms", "1000"));
        }
        s.write_all(&frame(mode, 1, &p)).unwrap();
    };
    ask(&mut s, next);
    while next < end {
        // whole frame at a..?
        let need = if b - a >= 4 { u32::from_be_bytes(buf[a..a + 4].try_into().unwrap()) as usize } else { 4 };
        if b - a < need || b - a < 4 {
            if a > 0 && (buf.len() - a < need.max(1 << 20)) {
                buf.copy_within(a..b, 0);
                b -= a;
                a = 0;
            }
            if buf.len() < need + (1 << 20) {
                buf.resize(need + (1 << 20), 0);
            }
            let n = s.read(&mut buf[b..]).unwrap();
            assert!(n > 0);
            b += n;
            continue;
        }
        let f = &buf[a..a + need];
        let kind = u32::from_be_bytes(f[4..8].try_into().unwrap());
        let seq = u64::from_be_bytes(f[8..16].try_into().unwrap());
        let pl = u32::from_be_bytes(f[24..28].try_into().unwrap()) as usize;
        let mut body = &f[28 + pl + 4..];
        if f[28..28 + pl].windows(12).any(|w| w == b"status=error") {
            panic!("{}", String::from_utf8_lossy(&f[28..28 + pl]));
        }
        match kind {
            1 => {
                assert_eq!(seq, next);
                next += 1;
            }
            17 | 2 if mode != 5 => {
                while !body.is_empty() {
                    let base = u64::from_be_bytes(body[..8].try_into().unwrap());
                    let len = u32::from_be_bytes(body[8..12].try_into().unwrap()) as usize + 12;
                    let delta = u32::from_be_bytes(body[23..27].try_into().unwrap()) as u64;
                    assert!(base <= next, "{base} {next}");
                    next = next.max(base + delta + 1);
                    body = &body[len..];
                }
                if mode == 10 && kind == 2 && next < end {
                    ask(&mut s, next);
                }
            }
            _ => {}
        }
        a += need;
        if a == b {
            a = 0;
            b = 0;
        }
    }
}

async fn fill(server: &Server, topic: &str, bytes: usize, count: u64, pace: Option<f64>) {
    let client = Client::connect(server.options()).await.unwrap();
    let _ = client.create_topic(topic, Some(1), None).await;
    let producer = Producer::new(ProducerOptions {
        client: server.options(),
        linger: Duration::from_millis(2),
        ..ProducerOptions::default()
    })
    .await
    .unwrap();
    let payload = bytes::Bytes::from(vec![b'x'; bytes]);
    let mut waiting = std::collections::VecDeque::new();
    let began = Instant::now();
    for i in 0..count {
        if let Some(rate) = pace
            && i % 16 == 0
        {
            let due = Duration::from_secs_f64(i as f64 / rate);
            let e = began.elapsed();
            if due > e {
                tokio::time::sleep(due - e).await;
            }
        }
        waiting.push_back(producer.send(topic, ProducerRecord::new(payload.clone())).await.unwrap());
        if waiting.len() >= 50_000 {
            waiting.pop_front().unwrap().await.unwrap();
        }
    }
    producer.flush().await.unwrap();
    for w in waiting {
        w.await.unwrap();
    }
}

fn row(server: &Server, name: &str, count: u64, bytes: usize, f: impl FnOnce()) {
    let (c, t) = (server.cpu(), Instant::now());
    f();
    let (dc, dt) = (server.cpu() - c, t.elapsed().as_secs_f64());
    let (rss, hwm) = server.rss();
    println!(
        "{name:<34} {bytes:>5} B {:>12.0}/s {:>8.0} MB/s  server {:>6.3} s/M  ({:.2} s CPU, {:.2} s)  rss {rss} hwm {hwm}",
        count as f64 / dt,
        count as f64 * bytes as f64 / dt / 1e6,
        dc * 1e6 / count as f64,
        dc,
        dt
    );
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let binary = &args[0];
    let which = |w: &str| args.len() == 1 || args[1..].iter().any(|a| a == w);
    let rt = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for bytes in [1024usize, 100] {
        let server = Server::start(binary);
        let addr = server.address;
        let count: u64 = if bytes == 1024 { 1_000_000 } else { 8_000_000 };
        rt.block_on(fill(&server, "t", bytes, count, None));
        let rounds = 4;
        if which("cache") {
            row(&server, "batches from page cache, 1", count * rounds, bytes, || {
                for _ in 0..rounds {
                    drain(addr, "t", 16, 0, count, 0)
                }
            });
        }
        if which("cache4") {
            row(&server, "batches from page cache, 4", count * rounds, bytes, || {
                std::thread::scope(|s| {
                    for _ in 0..rounds {
                        s.spawn(|| drain(addr, "t", 16, 0, count, 0));
                    }
                })
            });
        }
        let last = if bytes == 1024 { 24_000 } else { 200_000 };
        if which("tail") {
            row(&server, "batches from tail, 1 (reconnecting)", last * 100, bytes, || {
                for _ in 0..100 {
                    drain(addr, "t", 16, count - last, count, 0)
                }
            });
        }
        if which("fetch") {
            row(&server, "fetch 1 MiB from page cache, 1", count * 2, bytes, || {
                for _ in 0..2 {
                    drain(addr, "t", 10, 0, count, 1 << 20)
                }
            });
        }
        if which("data") {
            row(&server, "DATA from page cache, 1", count, bytes, || drain(addr, "t", 5, 0, count, 0));
        }
        if which("mixed") {
            let n = count;
            rt.block_on(async {
                let c = Client::connect(server.options()).await.unwrap();
                let _ = c.create_topic("m", Some(1), None).await;
            });
            row(&server, "mixed 1 producer 1 consumer", n, bytes, || {
                std::thread::scope(|s| {
                    s.spawn(|| drain(addr, "m", 16, 0, n, 0));
                    rt.block_on(fill(&server, "m", bytes, n, None));
                })
            });
        }
        if which("fan") && bytes == 100 {
            for (mode, name) in [(16, "batches"), (5, "DATA"), (10, "fetch")] {
                for subs in [0, 1, 100] {
                    let topic = format!("f{mode}-{subs}");
                    let n = 50_000u64;
                    rt.block_on(async {
                        let c = Client::connect(server.options()).await.unwrap();
                        let _ = c.create_topic(&topic, Some(1), None).await;
                    });
                    row(&server, &format!("{subs} {name} at the tail, 10k/s"), n, bytes, || {
                        std::thread::scope(|s| {
                            for _ in 0..subs {
                                s.spawn(|| drain(addr, &topic, mode, 0, n, 1 << 20));
                            }
                            rt.block_on(fill(&server, &topic, bytes, n, Some(10_000.0)));
                        })
                    });
                }
            }
        }
    }
}
