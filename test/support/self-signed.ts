import { generateKeyPairSync, type KeyObject, sign, X509Certificate } from 'node:crypto'

/** A certificate for a host that nobody vouches for: RFC 5280, section 4.1, signed with Ed25519 as RFC 8410 says. */
export function selfSigned(host = 'localhost'): { key: string; cert: string } {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const algorithm = der(0x30, der(0x06, Buffer.from([0x2b, 0x65, 0x70])))
  const commonName = der(0x30, der(0x06, Buffer.from([0x55, 0x04, 0x03])), der(0x0c, Buffer.from(host)))
  const name = der(0x30, der(0x31, commonName))
  const validity = der(0x30, utcTime('700101000000Z'), utcTime('491231235959Z'))
  const serial = der(0x02, Buffer.from([1]))
  const publicKeyInfo = publicKey.export({ type: 'spki', format: 'der' })
  const version3 = der(0xa0, der(0x02, Buffer.from([2])))
  const altName = der(0x30, der(0x82, Buffer.from(host)))
  const extension = der(0x30, der(0x06, Buffer.from([0x55, 0x1d, 0x11])), der(0x04, altName))
  const extensions = der(0xa3, der(0x30, extension))
  const signed = der(0x30, version3, serial, algorithm, name, validity, name, publicKeyInfo, extensions)
  const signature = der(0x03, Buffer.from([0]), sign(null, signed, privateKey))
  const certificate = new X509Certificate(der(0x30, signed, algorithm, signature))
  return { key: pem(privateKey), cert: certificate.toString() }
}

function pem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString()
}

function utcTime(text: string): Buffer {
  return der(0x17, Buffer.from(text))
}

function der(tag: number, ...parts: Buffer[]): Buffer {
  const content = Buffer.concat(parts)
  const length = content.length < 128 ? [content.length] : [0x82, content.length >> 8, content.length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...length]), content])
}
