//! A static file server for www/: one thread per connection, Range and ETag, right MIME types, this machine only.

use crate::shell::{root, step};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

#[derive(clap::Args)]
pub struct Options {
    /// 0 takes any free port.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// 0.0.0.0 shows the page to the network.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Send the COOP and COEP headers. phiquant needs neither.
    #[arg(long)]
    isolate: bool,
    /// Compile fast rather than for speed.
    #[arg(long)]
    dev: bool,
    /// Serve what was built before.
    #[arg(long)]
    no_build: bool,
}

pub fn run(options: &Options) -> Result<()> {
    // Taken before the build, so that a port in use is told at once.
    let listener = TcpListener::bind((options.host.as_str(), options.port)).with_context(|| {
        format!("port {} of {} cannot be used: choose another with --port N", options.port, options.host)
    })?;
    if !options.no_build {
        crate::build(options.dev)?;
    }
    step(&format!("http://{}/", listener.local_addr()?));
    eprintln!("  the page is at /, the JavaScript module at /phiquant.js; Ctrl+C ends");
    let site = Site { root: root().join("www"), isolate: options.isolate };
    std::thread::scope(|scope| {
        for stream in listener.incoming().flatten() {
            let site = &site;
            // A browser that closes a connection in the middle is no fault of the server's.
            scope.spawn(move || drop(site.connection(&stream)));
        }
    });
    Ok(())
}

/// A folder to serve.
struct Site {
    root: PathBuf,
    isolate: bool,
}

const LONGEST_HEAD: u64 = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(30);

struct Request {
    method: String,
    /// Decoded, without the query.
    path: Option<String>,
    range: Option<String>,
    if_range: Option<String>,
    if_none_match: Option<String>,
    close: bool,
}

impl Site {
    /// Answers the requests of a connection, one after another.
    fn connection(&self, stream: &TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        while let Some(request) = read_request(&mut reader)? {
            self.answer(&request, &mut &*stream)?;
            if request.close {
                break;
            }
        }
        Ok(())
    }

    fn answer(&self, request: &Request, out: &mut impl Write) -> io::Result<()> {
        let head_only = request.method == "HEAD";
        if request.method != "GET" && !head_only {
            return self.text(
                out,
                "405 Method Not Allowed",
                "Allow: GET, HEAD\r\n",
                "only GET and HEAD are served here",
            );
        }
        let Some(path) = request.path.as_deref().and_then(|path| self.file(path)) else {
            return self.text(out, "404 Not Found", "", "there is no such file");
        };
        let mut file = File::open(&path)?;
        let metadata = file.metadata()?;
        let size = metadata.len();
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let etag = format!("\"{:x}-{size:x}\"", modified.as_nanos());
        let common = format!(
            "Content-Type: {}\r\nETag: {etag}\r\nCache-Control: no-cache\r\nAccept-Ranges: bytes\r\n",
            mime(&path)
        );
        if request.if_none_match.as_deref() == Some(etag.as_str()) {
            return self.head(out, "304 Not Modified", &common);
        }
        let wanted = request.range.as_deref().filter(|_| request.if_range.as_deref().is_none_or(|tag| tag == etag));
        let (status, start, length, extra) = match wanted.map(|range| parse_range(range, size)) {
            Some(Ranged::Part(start, end)) => {
                let extra = format!("Content-Range: bytes {start}-{}/{size}\r\n", end - 1);
                ("206 Partial Content", start, end - start, extra)
            }
            Some(Ranged::Impossible) => {
                let extra = format!("Content-Range: bytes */{size}\r\n");
                return self.text(out, "416 Range Not Satisfiable", &extra, "the range lies past the file's end");
            }
            Some(Ranged::Whole) | None => ("200 OK", 0, size, String::new()),
        };
        self.head(out, status, &format!("{common}{extra}Content-Length: {length}\r\n"))?;
        if !head_only {
            file.seek(SeekFrom::Start(start))?;
            io::copy(&mut file.take(length), out)?;
        }
        Ok(())
    }

    fn head(&self, out: &mut impl Write, status: &str, headers: &str) -> io::Result<()> {
        let isolation = if self.isolate {
            "Cross-Origin-Opener-Policy: same-origin\r\nCross-Origin-Embedder-Policy: require-corp\r\n"
        } else {
            ""
        };
        out.write_all(format!("HTTP/1.1 {status}\r\n{headers}{isolation}\r\n").as_bytes())
    }

    fn text(&self, out: &mut impl Write, status: &str, headers: &str, text: &str) -> io::Result<()> {
        let headers = format!("{headers}Content-Type: text/plain\r\nContent-Length: {}\r\n", text.len());
        self.head(out, status, &headers)?;
        out.write_all(text.as_bytes())
    }

    /// The file of a URL's path: inside the folder, a folder's index.html.
    fn file(&self, path: &str) -> Option<PathBuf> {
        let mut file = self.root.clone();
        for part in path.split('/').filter(|part| !part.is_empty()) {
            if part == ".." || part.contains(['\\', '\0', ':']) {
                return None;
            }
            file.push(part);
        }
        if file.is_dir() {
            file.push("index.html");
        }
        file.is_file().then_some(file)
    }
}

/// `None` at the end of the connection, or where the request is not HTTP.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut reader = reader.take(LONGEST_HEAD);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next()) else {
        return Ok(None);
    };
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let mut request = Request {
        method: method.to_owned(),
        path: percent_decode(path),
        range: None,
        if_range: None,
        if_none_match: None,
        close: version == "HTTP/1.0",
    };
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        let value = value.trim().to_owned();
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = Some(value),
            "if-range" => request.if_range = Some(value),
            "if-none-match" => request.if_none_match = Some(value),
            "connection" => request.close |= value.eq_ignore_ascii_case("close"),
            // A body would be read as the next request.
            "content-length" | "transfer-encoding" => request.close = true,
            _ => {}
        }
    }
    Ok(Some(request))
}

#[derive(Debug, PartialEq)]
enum Ranged {
    /// First byte, and the one after the last.
    Part(u64, u64),
    /// A range that may be ignored: several, or not understood.
    Whole,
    Impossible,
}

fn parse_range(header: &str, size: u64) -> Ranged {
    let Some((first, last)) = header.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Ranged::Whole;
    };
    let (start, end) = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(start), Ok(last)) if start <= last => (start, size.min(last.saturating_add(1))),
        (Ok(start), Err(_)) if last.trim().is_empty() => (start, size),
        (Err(_), Ok(suffix)) if first.trim().is_empty() => (size.saturating_sub(suffix), size),
        _ => return Ranged::Whole,
    };
    if start < end { Ranged::Part(start, end) } else { Ranged::Impossible }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next()?, bytes.next()?];
            decoded.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

fn mime(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()).unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" | "webmanifest" => "application/json",
        "wasm" => "application/wasm",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "md" | "txt" | "ts" | "LICENSE" | "jinja" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(request: &str) -> (String, Vec<u8>) {
        let site = Site { root: root().join("www/engine"), isolate: false };
        let request = read_request(&mut request.as_bytes()).unwrap().expect("a request");
        let mut out = Vec::new();
        site.answer(&request, &mut out).unwrap();
        let end = out.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
        (String::from_utf8(out[..end].to_vec()).unwrap(), out[end + 4..].to_vec())
    }

    #[test]
    fn ranges() {
        assert_eq!(parse_range("bytes=0-9", 100), Ranged::Part(0, 10));
        assert_eq!(parse_range("bytes=90-", 100), Ranged::Part(90, 100));
        assert_eq!(parse_range("bytes=-10", 100), Ranged::Part(90, 100));
        assert_eq!(parse_range("bytes=90-18446744073709551615", 100), Ranged::Part(90, 100));
        assert_eq!(parse_range("bytes=100-", 100), Ranged::Impossible);
        assert_eq!(parse_range("bytes=0-", 0), Ranged::Impossible);
        assert_eq!(parse_range("bytes=0-1,4-5", 100), Ranged::Whole);
        assert_eq!(parse_range("lines=0-1", 100), Ranged::Whole);
    }

    #[test]
    fn a_file_whole_and_in_part() {
        let whole = std::fs::read(root().join("www/engine/index.d.ts")).unwrap();
        let (head, body) = ask("GET /index.d.ts?version=1 HTTP/1.1\r\nHost: here\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(!head.contains("Cross-Origin"));
        assert_eq!(body, whole);
        let (head, body) = ask("GET /index.d.ts HTTP/1.1\r\nRange: bytes=2-5\r\n\r\n");
        assert!(head.contains("206") && head.contains(&format!("Content-Range: bytes 2-5/{}", whole.len())), "{head}");
        assert_eq!(body, whole[2..6]);
        let (head, body) = ask("GET /index.d.ts HTTP/1.1\r\nRange: bytes=2-5\r\nIf-Range: \"other\"\r\n\r\n");
        assert!(head.contains("200 OK"), "{head}");
        assert_eq!(body, whole);
    }

    #[test]
    fn nothing_outside_the_folder() {
        for path in ["/../../Cargo.toml", "/%2e%2e/%2e%2e/Cargo.toml", "/..%2f..%2fCargo.toml", "/nothing", "/%zz"] {
            let (head, _) = ask(&format!("GET {path} HTTP/1.1\r\n\r\n"));
            assert!(head.contains("404"), "{path}: {head}");
        }
        let (head, _) = ask("POST /index.d.ts HTTP/1.1\r\n\r\n");
        assert!(head.contains("405"), "{head}");
    }
}
