autocmd BufNewFile,BufRead *.frac setfiletype frac
