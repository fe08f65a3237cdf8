" Comments, indentation and :make for Frac.
if exists("b:did_ftplugin")
  finish
endif
let b:did_ftplugin = 1

setlocal commentstring=#\ %s
setlocal comments=:##,:#
setlocal expandtab shiftwidth=4 softtabstop=4
setlocal suffixesadd=.frac
setlocal makeprg=fractal-dsl\ check\ %:S
setlocal errorformat=%E%trror[%.%#]:\ %m,%W%tarning[%.%#]:\ %m,%C\ \ -->\ %f:%l:%c,%-C%.%#,%-G%.%#

let b:undo_ftplugin = "setlocal commentstring< comments< expandtab< shiftwidth< softtabstop< suffixesadd<"
      \ . " makeprg< errorformat<"
