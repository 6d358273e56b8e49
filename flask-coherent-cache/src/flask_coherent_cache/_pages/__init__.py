"""Cached views and template fragments, from the outside in.

- ``middleware``, ``app_hooks``: hits before Flask, if no hook of the application would run
- ``known_sessions``, ``guards``, ``guard_values``, ``sources``: the same for private pages
- ``views``: how a request is answered; ``page_visit`` is what the others are given
- ``visitors``, ``page_keys``: which requests bypass the cache, and which key the others have
- ``page_fills``, ``storable``: calling the view, and whether its page may be stored
- ``responses``, ``response_headers``, ``http``: what leaves, before and after the hooks
- ``pages``: the form in which a page is stored and sent
- ``view_functions``, ``view_values``, ``view_tags``: what a view is, returns and is dropped by
- ``fragments``, ``fragment_keys``, ``fragment_compiler``, ``templates``: parts of templates
"""
