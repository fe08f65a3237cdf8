" Syntax of Frac. Written by editors/make.py.
if exists("b:current_syntax")
  finish
endif

syntax keyword fracDeclaration import from param let shared layer join rule net train extern
syntax keyword fracKeyword frac as with when where for in
syntax keyword fracConstant true false
syntax keyword fracLogic and or not
syntax keyword fracType int float prob bool str block f32 i64
syntax keyword fracNative conv1d conv2d conv3d convtranspose1d convtranspose2d convtranspose3d stdconv2d maxpool1d maxpool2d maxpool3d avgpool1d avgpool2d avgpool3d adaptivemaxpool1d adaptivemaxpool2d adaptivemaxpool3d adaptiveavgpool1d adaptiveavgpool2d adaptiveavgpool3d batchnorm1d batchnorm2d batchnorm3d instancenorm1d instancenorm2d instancenorm3d groupnorm layernorm layernorm2d rmsnorm scale shift times plus power exp clamp localresponsenorm normalize dropout dropout1d dropout2d dropout3d linear flatten transpose permute reshape slice roll channel_shuffle embedding positions class_token parameter distances pairs window_mask last_step sequence_mean attention window_attention rnn lstm gru global_avgpool project upsample zeropad1d zeropad2d zeropad3d constantpad1d constantpad2d constantpad3d pixelshuffle pixelunshuffle id relu relu6 selu silu mish sigmoid tanh hardswish hardsigmoid softplus leakyrelu elu gelu softmax prelu glu logsoftmax mean sum product max min concat gated matmul attend seq zip range len enumerate reversed split unembed
syntax match fracOperator />>\|\*\*\|\/\/\|==\|!=\|<=\|>=\|->\|\.\.\|[|+\-*\/%<>=]/
syntax match fracAnnotation /@\s*\h\w*/
syntax match fracNumber /\<\d\+\%(_\d\+\)*\%(\.\d\+\)\?\%([eE][+-]\?\d\+\)\?%\?/
syntax match fracString /"[^"]*"/
syntax match fracComment /#.*$/ contains=fracTodo,@Spell
syntax match fracDoc /##.*$/ contains=@Spell
syntax keyword fracTodo TODO FIXME contained

highlight default link fracDeclaration Structure
highlight default link fracKeyword Keyword
highlight default link fracConstant Boolean
highlight default link fracLogic Operator
highlight default link fracType Type
highlight default link fracNative Function
highlight default link fracOperator Operator
highlight default link fracAnnotation PreProc
highlight default link fracNumber Number
highlight default link fracString String
highlight default link fracComment Comment
highlight default link fracDoc SpecialComment
highlight default link fracTodo Todo

let b:current_syntax = "frac"
