// Grafana imports this module by names that its bundle for browsers does not have.
import * as module from './node_modules/react-custom-scrollbars-2/lib/index.js';

const found = module.default?.default ? module.default : module;

export const { Scrollbars } = found;
export default found.Scrollbars ?? found.default;
