/* Search as learners ask: in whole questions, and in words that a page may not use itself. Loaded on the page of the
   search only, after Sphinx's own script, of which it replaces how pages are found and weighed. Sphinx asks for pages
   that have every word; here a page may lack some, and counts by where it has the others and how rare they are.
   A file for html_search_scorer would be shorter, and weighs only what was found: of the 27 questions of the tests it
   brought 10 to a right page among the first three, 15 with the words below in the index, and no section of a page.

   window.searchPages, which the build writes into the page, holds of each page what it is about, and words under which
   it is to be found. So a list of results needs no page to be fetched, and works from file://. */
"use strict"
;(() => {
  const WEIGHTS = { title: 4, words: 3, section: 2, text: 1 } // by where a word stands
  const GUESSED = 0.5 // of a word that is the beginning of another one
  const LEAST = 0.5 // of what was asked for: a page with less is no result
  const SCALE = 40 // a page whose title has all words; Sphinx gives the name of a function 11 to 26
  const GLOSSARY = "glossary"
  const DEFINING = /^what\s+(?:is|are)\s+(?:an?\s+|the\s+)?([\w -]+?)\s*\??$/i
  const DEFINED = 45 // the glossary, where it is asked what something is: before every page
  const NAMED = 0.5 // of what was asked for: a section whose title has as much is where a result leads
  const RARELY_MEANT = [
    [/^(changelog|facts|corrections)$|^course\/(instructors|further-reading)$/, 0.6],
    [/^api\//, 0.7],
  ]

  const about = window.searchPages
  const stemmer = new Stemmer()
  // Words that make a question of what is asked for.
  const ASKING = new Set("can could do does how i me my what when where which who why you".split(" "))
  const stems = (text) =>
    splitQuery(text.toLowerCase())
      .filter((word) => !stopwords.has(word))
      .map((word) => stemmer.stemWord(word))

  /* Where each word stands: stem -> number of the page -> weight. */
  function weigh(index) {
    const places = new Map()
    const add = (stem, file, weight) => {
      const files = places.get(stem) ?? places.set(stem, new Map()).get(stem)
      files.set(file, Math.max(weight, files.get(file) ?? 0))
    }
    for (const [stem, files] of Object.entries(index.terms)) {
      ;[files].flat().forEach((file) => add(stem, file, WEIGHTS.text))
    }
    for (const [title, sections] of Object.entries(index.alltitles)) {
      for (const [file] of sections) {
        stems(title).forEach((stem) => add(stem, file, WEIGHTS.section))
      }
    }
    index.docnames.forEach((name, file) => {
      stems(about[name]?.words ?? "").forEach((stem) => add(stem, file, WEIGHTS.words))
      stems(index.titles[file]).forEach((stem) => add(stem, file, WEIGHTS.title))
    })
    return places
  }

  function found(places, stem) {
    if (places.has(stem) || stem.length < 3) {
      return places.get(stem) ?? new Map()
    }
    const files = new Map()
    for (const [other, its] of places) {
      if (other.startsWith(stem)) {
        its.forEach((weight, file) => files.set(file, Math.max(GUESSED * weight, files.get(file) ?? 0)))
      }
    }
    return files
  }

  /* The sections of each page that have an address: number of the page -> [{title, anchor, words}]. */
  function list(index) {
    const found = new Map()
    for (const [title, entries] of Object.entries(index.alltitles)) {
      for (const [file, id] of entries) {
        if (id) found.set(file, [...(found.get(file) ?? []), { title, anchor: `#${id}`, words: new Set(stems(title)) }])
      }
    }
    return found
  }

  let places = null
  let sections = null
  let term = "" // of which it is asked what it is

  const parse = Search._parseQuery
  Search._parseQuery = (query) => {
    term = (query.trim().match(DEFINING)?.[1] ?? "").toLowerCase()
    const content = query
      .split(/\s+/)
      .filter((word) => !ASKING.has(word.toLowerCase().replace(/\W/g, "")))
      .join(" ")
    const [all, wanted, excluded, highlighted, names] = parse(content.trim() ? content : query)
    return [all, wanted, excluded, highlighted, new Set([...names].filter((name) => !stopwords.has(name)))]
  }

  Search.performTermsSearch = (wanted, excluded) => {
    const { docnames, filenames, titles } = Search._index
    places ??= weigh(Search._index)
    sections ??= list(Search._index)
    const banned = new Set([...excluded].flatMap((stem) => [...found(places, stem).keys()]))
    const scores = new Map() // page -> [score, share of what was asked for]
    const rarity = new Map()
    for (const stem of wanted) {
      const files = found(places, stem)
      const rare = Math.log(1 + docnames.length / (1 + files.size))
      if (files.size > 0) {
        rarity.set(stem, rare)
      }
      for (const [file, weight] of files) {
        const [score, share] = scores.get(file) ?? [0, 0]
        scores.set(file, [score + rare * weight, share + rare])
      }
    }
    const total = [...rarity.values()].reduce((sum, rare) => sum + rare, 0)
    const factor = (name) => RARELY_MEANT.find(([pattern]) => pattern.test(name))?.[1] ?? 1
    return [...scores]
      .filter(([file, [, share]]) => share >= LEAST * total && !banned.has(file))
      .map(([file, [score, share]]) => {
        if (term && docnames[file] === GLOSSARY && share >= total) {
          const [place, anchor] = [`${titles[file]} > ${term}`, `#term-${term.replace(/\s+/g, "-")}`]
          return [GLOSSARY, place, anchor, null, DEFINED, filenames[file], SearchResultKind.text]
        }
        const points = (SCALE * factor(docnames[file]) * score) / (WEIGHTS.title * total)
        const has = (words) => [...rarity].reduce((sum, [stem, rare]) => sum + (words.has(stem) ? rare : 0), 0)
        const least = Math.max(NAMED * total, has(new Set(stems(titles[file]))) + 1e-9) // else the page itself says it
        const part = (sections.get(file) ?? []).filter(({ words }) => has(words) >= least)
        const best = part.sort((one, other) => has(other.words) - has(one.words))[0]
        const [title, anchor] = best ? [`${titles[file]} > ${best.title}`, best.anchor] : [titles[file], ""]
        return [docnames[file], title, anchor, null, points, filenames[file], SearchResultKind.text]
      })
  }

  /* Below each page that is found, what it is about. */
  function tell(item) {
    const address = item.querySelector("a").getAttribute("href")
    const page = about[address.replace(/\.html(#.*)?$/, "")]
    if (page && (item.classList.contains("kind-text") || !address.includes("#"))) {
      item.append(Object.assign(document.createElement("p"), { className: "context", textContent: page.about }))
    }
  }

  const perform = Search.performSearch
  Search.performSearch = (query) => {
    perform(query)
    ;[...Search.output.children].forEach(tell)
    const observer = new MutationObserver((changes) => {
      changes.flatMap((change) => [...change.addedNodes]).forEach(tell)
    })
    observer.observe(Search.output, { childList: true })
  }
})()
