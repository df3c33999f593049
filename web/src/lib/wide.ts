import { MediaQuery } from 'svelte/reactivity';

/** Not a phone: the width that the styles turn at. */
export const wide = new MediaQuery('min-width: 761px');
