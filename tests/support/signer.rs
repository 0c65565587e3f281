//! An issuer of the test's own: it publishes one Ed25519 key, and signs whatever the test says.

use std::time::UNIX_EPOCH;

use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData, SigningKey};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// An issuer on loopback, which lives as long as the test's runtime.
pub struct Signer {
    pub url: String,
    key: KeyPair,
}

impl Signer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let public = base64url(key.der_bytes());
        let metadata = json!({ "issuer": url, "jwks_uri": format!("{url}/jwks") });
        let jwk =
            json!({ "kty": "OKP", "crv": "Ed25519", "kid": "one", "use": "sig", "x": public });
        let jwks = json!({ "keys": [jwk] });
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = vec![0; 4096];
                let read = stream.read(&mut head).await.unwrap_or(0);
                let is_keys = head[..read].starts_with(b"GET /jwks ");
                let body = if is_keys { jwks.to_string() } else { metadata.to_string() };
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
                     connection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        Self { url, key }
    }

    /// A token with these claims besides those that every token has, which they replace.
    pub fn token(&self, claims: &Value) -> String {
        self.signed(&json!({ "alg": "EdDSA", "kid": "one", "typ": "JWT" }), claims)
    }

    /// The same, with a header of the test's own.
    pub fn signed(&self, header: &Value, claims: &Value) -> String {
        let now = UNIX_EPOCH.elapsed().unwrap().as_secs();
        let mut all = json!({ "iss": self.url, "aud": "postern", "iat": now, "exp": now + 300 });
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        let message = unsigned(header, &all);
        let signature = self.key.sign(message.as_bytes()).unwrap();
        format!("{message}.{}", base64url(&signature))
    }

    /// The public key as it is published, which a careless verifier would take for a secret.
    pub fn public(&self) -> Vec<u8> {
        self.key.der_bytes().to_vec()
    }
}

pub fn now() -> u64 {
    UNIX_EPOCH.elapsed().unwrap().as_secs()
}

/// The two parts that are signed.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| base64url(value.to_string().as_bytes());
    format!("{}.{}", part(header), part(claims))
}

pub fn base64url(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut block = [0; 3];
        block[..chunk.len()].copy_from_slice(chunk);
        let number = u32::from_be_bytes([0, block[0], block[1], block[2]]);
        for place in 0..=chunk.len() {
            let letter = (number >> (18 - 6 * place)) & 63;
            text.push(char::from(LETTERS[letter as usize]));
        }
    }
    text
}
