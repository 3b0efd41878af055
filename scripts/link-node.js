// Links node_modules/.bin/node to the installed Node. npm 10 removes that link together with the packages for other
// platforms, which declare it too. This script must run on any version of Node.
import { existsSync, readdirSync, symlinkSync } from 'node:fs'

const modules = new URL('../node_modules/', import.meta.url)
const link = new URL('.bin/node', modules)
const installed = readdirSync(modules).find((name) => existsSync(new URL(`${name}/bin/node`, modules)))
if (installed && !existsSync(link)) symlinkSync(`../${installed}/bin/node`, link)
