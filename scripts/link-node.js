// npm 10 takes node_modules/.bin/node away again when it discards the packages of other platforms, which all name it.
// Runs on whatever Node the machine has.
import { existsSync, readdirSync, symlinkSync } from 'node:fs'

const modules = new URL('../node_modules/', import.meta.url)
const link = new URL('.bin/node', modules)
const installed = readdirSync(modules).find((name) => existsSync(new URL(`${name}/bin/node`, modules)))
if (installed && !existsSync(link)) symlinkSync(`../${installed}/bin/node`, link)
